package peers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const (
	logPartitions = 8
	sliceTime     = time.Second // one producer's turn
)

// producerLoad is how a producer is used: so many callers at once, each of whom waits for all of its call's records.
type producerLoad struct {
	callers, records int
}

// peer is a producer. caller makes what one caller repeats: to send records of the partitions that it is given, and to wait until
// all in-sync replicas have them.
type peer struct {
	name   string
	caller func(records int) (send func(partition func() int32) error)
}

var loads = []producerLoad{{64, 1}, {1024, 1}, {16, 100}}

// BenchmarkProducer is KeyPulse's producer beside franz-go's and kafka-go's, in turns of a second on one broker, which is another
// process. One iteration is one turn of each: use -benchtime 7x. What is reported are medians.
func BenchmarkProducer(b *testing.B) {
	for _, kind := range []string{"embedded", "apache"} {
		b.Run(kind, func(b *testing.B) {
			addr := startBroker(b, kind)
			peers := []peer{keypulse(b, addr), franz(b, addr), writer(b, addr)}
			for _, l := range loads {
				b.Run(fmt.Sprintf("callers=%d/records=%d", l.callers, l.records), func(b *testing.B) { takeTurns(b, peers, l) })
			}
		})
	}
}

// takeTurns lets each have its turns, the first to warm up, and reports medians; a ratio compares turns that followed each other.
func takeTurns(b *testing.B, peers []peer, l producerLoad) {
	for _, p := range peers {
		turn(b, p, l)
	}
	rate, cpu := make([][]float64, len(peers)), make([][]float64, len(peers))
	for b.Loop() {
		for i, p := range peers {
			r, c := turn(b, p, l)
			rate[i], cpu[i] = append(rate[i], r), append(cpu[i], c)
		}
	}
	for i, p := range peers {
		b.ReportMetric(median(rate[i]), p.name+"-records/s")
		b.ReportMetric(median(cpu[i]), p.name+"-cpu-ns/record")
		if i > 0 {
			b.ReportMetric(median(ratios(rate[0], rate[i])), "rate-of-"+p.name)
			b.ReportMetric(median(ratios(cpu[0], cpu[i])), "cpu-of-"+p.name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// turn returns the records acknowledged in a second and the CPU time that this process spent on one.
func turn(b *testing.B, p peer, l producerLoad) (rate, cpu float64) {
	b.Helper()
	runtime.GC() // nobody pays for another's garbage
	var callers sync.WaitGroup
	var sent atomic.Int64
	before, began := cpuTime(b), time.Now()
	for id := range l.callers {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 1))
			partition := func() int32 { return random.Int32N(logPartitions) }
			for send := p.caller(l.records); time.Since(began) < sliceTime; sent.Add(int64(l.records)) {
				if err := send(partition); err != nil {
					b.Errorf("%s: %v", p.name, err)
					return
				}
			}
		})
	}
	callers.Wait()
	took, spent := time.Since(began), cpuTime(b)-before
	return float64(sent.Load()) / took.Seconds(), float64(spent.Nanoseconds()) / float64(sent.Load())
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func ratios(ours, theirs []float64) (list []float64) {
	for i := range ours {
		list = append(list, ours[i]/theirs[i])
	}
	return list
}

// A record is as large as an event of the demo: its key, and a value that nobody reads.
var (
	recordKey   = schema.RecordKey("demo", "treasury-hot-1")
	recordValue = make([]byte, 220)
)

func keypulse(b *testing.B, addr string) peer {
	c, err := broker.Open(broker.Config{Brokers: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	p := broker.NewProducer(c, schema.TopicEvents, logPartitions, broker.DefaultProducerConfig())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return peer{"keypulse", func(n int) func(func() int32) error {
		records := make([]broker.Record, n)
		return func(partition func() int32) error {
			now := schema.MillisOf(time.Now())
			for i := range records {
				records[i] = broker.Record{Partition: partition(), Key: recordKey, Value: recordValue, Time: now}
			}
			return p.Produce(records)
		}
	}}
}

// franz is franz-go, idempotent as by default, without linger (each caller waits) and without compression (we have none), and
// with records that are used again.
func franz(b *testing.B, addr string) peer {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(string(schema.TopicEvents)), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(900<<10), kgo.MaxBufferedRecords(1<<20), kgo.DisableClientMetrics())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return peer{"franz-go", func(n int) func(func() int32) error {
		records := make([]*kgo.Record, n)
		for i := range records {
			records[i] = new(kgo.Record)
		}
		var left atomic.Int32
		var failed atomic.Pointer[error]
		done := make(chan struct{}, 1)
		promise := func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
			if left.Add(-1) == 0 {
				done <- struct{}{}
			}
		}
		return func(partition func() int32) error {
			left.Store(int32(n))
			now := time.Now()
			for _, r := range records {
				*r = kgo.Record{Partition: partition(), Key: recordKey, Value: recordValue, Timestamp: now}
				c.Produce(context.Background(), r, promise)
			}
			<-done
			if err := failed.Load(); err != nil {
				return *err
			}
			return nil
		}
	}}
}

// writer is kafka-go's Writer with the shortest useful timeout. It is not idempotent.
func writer(b *testing.B, addr string) peer {
	w := &kafka.Writer{
		Addr: kafka.TCP(addr), Topic: string(schema.TopicEvents), RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, BatchSize: 2000, BatchBytes: 900 << 10,
		Balancer: kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.WriterData.(int) }),
	}
	b.Cleanup(func() { _ = w.Close() })
	boxed := make([]any, logPartitions)
	for i := range boxed {
		boxed[i] = i
	}
	return peer{"writer", func(n int) func(func() int32) error {
		messages := make([]kafka.Message, n)
		return func(partition func() int32) error {
			now := time.Now()
			for i := range messages {
				messages[i] = kafka.Message{WriterData: boxed[partition()], Key: recordKey, Value: recordValue, Time: now}
			}
			return w.WriteMessages(context.Background(), messages...)
		}
	}}
}
