package ingest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/processor"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	benchClients = 16
	benchSlice   = 500 * time.Millisecond
	benchRounds  = 9
)

// BenchmarkVerdict is a POST to its answer with the verdict, at half of the load that the node takes, beside what it is
// made of: two hops through a broker (produced, acknowledged and fetched) and a POST to a handler that does nothing, at the
// same rate. The three take turns in slices of half a second; the figures are medians over the slices.
func BenchmarkVerdict(b *testing.B) {
	post, capacity := startJudged(b)
	empty := startEmpty(b)
	hop := startHop(b)
	for b.Loop() {
		rate := capacity() / 2
		var posts, empties, hops []times
		for range benchRounds {
			posts = append(posts, paced(b, rate, post))
			empties = append(empties, paced(b, rate, empty))
			hops = append(hops, paced(b, rate, hop))
		}
		p, e, h := middle(posts), middle(empties), middle(hops)
		b.ReportMetric(rate, "POSTs/s")
		b.ReportMetric(us(p.p50), "µs-p50")
		b.ReportMetric(us(e.p50), "µs-p50-empty")
		b.ReportMetric(us(h.p50), "µs-p50-hop")
		b.ReportMetric(us(p.p50)/us(2*h.p50+e.p50), "p50-ratio")
		b.ReportMetric(us(p.p99)/us(2*h.p99+e.p99), "p99-ratio")
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// times are those of one slice.
type times struct{ p50, p99 time.Duration }

// middle is the median slice, for each figure by itself.
func middle(all []times) times {
	of := func(figure func(times) time.Duration) time.Duration {
		list := make([]time.Duration, len(all))
		for i, t := range all {
			list[i] = figure(t)
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	return times{of(func(t times) time.Duration { return t.p50 }), of(func(t times) time.Duration { return t.p99 })}
}

// paced calls do at a rate a second, from benchClients goroutines that take turns, for a slice.
func paced(b *testing.B, rate float64, do func(client int)) times {
	b.Helper()
	var clients sync.WaitGroup
	took := make([][]time.Duration, benchClients)
	start, every := time.Now(), time.Duration(float64(time.Second)/rate)
	for i := range benchClients {
		clients.Go(func() {
			for n := i; ; n += benchClients {
				due := start.Add(time.Duration(n) * every)
				if due.Sub(start) > benchSlice {
					return
				}
				time.Sleep(time.Until(due))
				began := time.Now()
				do(i)
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	clients.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return times{all[len(all)/2], all[len(all)*99/100]}
}

// startJudged runs ingest and a processor on a broker. post sends an event and wants its verdict; capacity is how many of
// them the node answers in a second.
func startJudged(b *testing.B) (post func(client int), capacity func() float64) {
	b.Helper()
	addr := brokertest.StartBroker(b)
	c, log := brokertest.Open(b, addr, partitions)
	book := rules.NewBook()
	p := processor.New(processor.Config{
		Client: c, Incarnation: log, Book: book, Producer: broker.DefaultProducerConfig(), Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	n := startNode(b, addr, func(cfg *Config) { cfg.RulesRev = book.Rev })
	b.Cleanup(run(b, p.Run))
	for p.Check(b.Context()) != nil {
		time.Sleep(time.Millisecond)
	}
	exchange := exchanger(b, strings.TrimPrefix(n.url, "http://"), n.apiKey)
	post = func(client int) {
		if answer := exchange(client); !strings.Contains(answer, `"evaluated":true`) {
			b.Errorf("got %s, want a verdict", answer)
		}
	}
	return post, func() float64 {
		var done atomic.Int64
		var clients sync.WaitGroup
		start := time.Now()
		for i := range benchClients {
			clients.Go(func() {
				for time.Since(start) < 2*benchSlice {
					exchange(i)
					done.Add(1)
				}
			})
		}
		clients.Wait()
		return float64(done.Load()) / time.Since(start).Seconds()
	}
}

// exchanger is how each client POSTs an event on a connection of its own and reads the answer's body.
func exchanger(b *testing.B, addr, apiKey string) func(client int) string {
	b.Helper()
	request := fmt.Sprintf("POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		apiKey, len(verdictEvent), verdictEvent)
	conns := make([]*benchConn, benchClients)
	for i := range conns {
		conns[i] = dial(b, addr)
	}
	return func(client int) string {
		c := conns[client]
		if _, err := io.WriteString(c, request); err != nil {
			b.Error(err)
			return ""
		}
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil {
			b.Error(err)
			return ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			b.Error(err)
		}
		return string(body)
	}
}

// verdictEvent has no event_id: sent again it is another event.
const verdictEvent = `{"key_id":"my-signing-key-01","event_type":"signing_request","severity":"nominal","source_ip":"10.0.0.1",` +
	`"actor":"service-account@myapp.com","details":{"amount_usd":12500.5,"destination":"bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh"}}`

// startEmpty serves a handler that does nothing.
func startEmpty(b *testing.B) func(client int) {
	b.Helper()
	exchange := exchanger(b, serveEmpty(b), "none")
	return func(client int) { exchange(client) }
}

// startHop produces to a broker and fetches from it, in other goroutines, as a processor does.
func startHop(b *testing.B) func(client int) {
	b.Helper()
	c, log := brokertest.Start(b, partitions)
	producer := broker.NewProducer(c, schema.TopicEvents, log.Partitions, broker.DefaultProducerConfig())
	b.Cleanup(run(b, producer.Run))
	arrived := make([]chan struct{}, benchClients)
	for i := range arrived {
		arrived[i] = make(chan struct{}, 1)
	}
	for partition := range log.Partitions {
		b.Cleanup(run(b, func(ctx context.Context) error {
			for r := c.NewReader(schema.TopicEvents, partition, 0); ; {
				records, err := r.Fetch(ctx)
				if err != nil {
					return unlessStopped(ctx, err)
				}
				for _, record := range records {
					client, err := strconv.Atoi(string(record.Key))
					if err != nil {
						return err
					}
					arrived[client] <- struct{}{}
				}
			}
		}))
	}
	value := make([]byte, len(verdictEvent))
	return func(client int) {
		err := producer.Produce([]broker.Record{{Partition: int32(client % partitions), Key: []byte(strconv.Itoa(client)), Value: value, Time: schema.MillisOf(time.Now())}})
		if err != nil {
			b.Error(err)
			return
		}
		<-arrived[client]
	}
}
