// Command webhook measures how long it takes from a POST to the webhook that tells its alert, beside how long a record takes
// through the broker, in one run.
//
// It needs a running `keypulse up` that may send to this machine, and an API key of it without a limit:
//
//	keypulse up --webhook-networks 127.0.0.0/8
//	go run ./bench/webhook -api-key kp_live_… -rate 6000
//
// Its figures are in docs/benchmarks.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"keypulse/bench"
	"keypulse/internal/broker"
	"keypulse/notify"
	"keypulse/schema"
)

const (
	ruleID     = "bench-webhook"
	probeType  = "bench-webhook-probe"
	probeEvery = 100 * time.Millisecond
)

func main() {
	var m measurement
	flag.StringVar(&m.url, "url", "http://127.0.0.1:8080", "the instance")
	flag.StringVar(&m.apiKey, "api-key", os.Getenv("KEYPULSE_API_KEY"), "with the scopes ingest, read and rules, and no limit")
	flag.StringVar(&m.kafka, "kafka", "127.0.0.1:9092", "its broker")
	flag.Float64Var(&m.rate, "rate", 6000, "events/s beside the probes")
	flag.DurationVar(&m.run, "run", 30*time.Second, "how long to measure")
	flag.Parse()
	if err := m.measure(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
		os.Exit(1)
	}
}

// measurement is one run.
type measurement struct {
	url, apiKey, kafka string
	rate               float64
	run                time.Duration

	mu     sync.Mutex
	posted map[int64]time.Time // guards the following: probes by their event's id
	told   map[int64]time.Time
	hops   []time.Duration
}

func (m *measurement) measure(ctx context.Context) error {
	m.posted, m.told = map[int64]time.Time{}, map[int64]time.Time{}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	endpoint := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(m.receive)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = endpoint.Serve(l) }) // until it is closed
	defer func() {
		_ = endpoint.Close()
		serving.Wait()
	}()
	drop, err := m.setUp(ctx, "http://"+l.Addr().String())
	if err != nil {
		return err
	}
	defer drop()
	ctx, cancel := context.WithTimeout(ctx, m.run)
	defer cancel()
	failures := make(chan error, 3)
	var wait sync.WaitGroup
	for _, part := range []func(context.Context) error{m.load, m.probe, m.hop} {
		wait.Go(func() { failures <- part(ctx) })
	}
	wait.Wait()
	for range 3 {
		if err := <-failures; err != nil && ctx.Err() == nil {
			return err
		}
	}
	time.Sleep(2 * time.Second) // the last of them
	return m.print()
}

// setUp makes the rule and the webhook; drop takes both away.
func (m *measurement) setUp(ctx context.Context, endpoint string) (drop func(), err error) {
	var w struct{ ID string }
	rule := fmt.Sprintf(`{"id":%q,"name":"bench","when":"event_type == \"%s\"","severity":"nominal","dedup":"0s"}`, ruleID, probeType)
	if err := m.call(ctx, http.MethodPost, "/api/rules", rule, nil); err != nil {
		return nil, err
	}
	if err := m.call(ctx, http.MethodPost, "/api/webhooks", fmt.Sprintf(`{"name":"bench","url":%q,"rules":[%q],"burst":1000}`, endpoint, ruleID), &w); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second) // a rule is in force after two
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, path := range []string{"/api/webhooks/" + w.ID, "/api/rules/" + ruleID} {
			if err := m.call(ctx, http.MethodDelete, path, "", nil); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}, nil
}

func (m *measurement) call(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+m.apiKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode >= http.StatusBadRequest {
		err = errors.New(string(answer))
	}
	if err == nil && into != nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// load is what goes on beside the probes.
func (m *measurement) load(ctx context.Context) error {
	cfg := bench.DefaultConfig()
	cfg.URL, cfg.APIKey, cfg.Rate, cfg.Duration, cfg.WarmUp = m.url, m.apiKey, m.rate, m.run+time.Second, 0
	_, err := bench.Run(ctx, cfg)
	return err
}

// probe posts events that raise an alert.
func (m *measurement) probe(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		var e struct {
			ID     int64
			Alerts int `json:"alerts_triggered"`
		}
		body := fmt.Sprintf(`{"key_id":"bench-webhook-%d","event_type":%q,"severity":"nominal"}`, n%64, probeType)
		if err := m.call(ctx, http.MethodPost, "/api/events", body, &e); err != nil {
			return err
		}
		m.mu.Lock()
		m.posted[e.ID] = began
		m.mu.Unlock()
	}
}

// receive is the webhook's endpoint.
func (m *measurement) receive(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	var message struct {
		Data struct {
			Alert struct {
				EventID int64 `json:"event_id"`
			}
		}
	}
	if json.NewDecoder(r.Body).Decode(&message) == nil {
		m.mu.Lock()
		m.told[message.Data.Alert.EventID] = at
		m.mu.Unlock()
	}
	w.WriteHeader(http.StatusNoContent)
}

// hop measures how long a record takes through the broker: notices of nobody, that everybody passes over.
func (m *measurement) hop(ctx context.Context) error {
	c, err := broker.Open(broker.Config{Brokers: []string{m.kafka}})
	if err != nil {
		return err
	}
	defer c.Close()
	const tenant = "bench-nobody"
	partition := notify.NoticePartition(tenant)
	_, end, err := c.Offsets(ctx, schema.TopicNotices, partition)
	if err != nil {
		return err
	}
	seen := make(chan int64, 16)
	var reading sync.WaitGroup
	reading.Go(func() {
		for r := c.NewReader(schema.TopicNotices, partition, end); ; {
			records, err := r.Fetch(ctx)
			if err != nil {
				return // the run is over
			}
			for i := range records {
				seen <- records[i].Offset
			}
		}
	})
	notice, err := json.Marshal(schema.NoticeRecord{Kind: "bench", Tenant: tenant})
	if err != nil {
		return err
	}
	for out := broker.NewAppend(c, schema.TopicNotices, partition, broker.DefaultProducerConfig()); ctx.Err() == nil; {
		began := time.Now()
		offset, err := out.Records(ctx, broker.Record{Key: []byte(tenant), Value: notice, Time: schema.MillisOf(began)})
		if err != nil {
			break
		}
		for at := int64(-1); at < offset && ctx.Err() == nil; {
			select {
			case at = <-seen:
			case <-ctx.Done():
			}
		}
		m.mu.Lock()
		m.hops = append(m.hops, time.Since(began))
		m.mu.Unlock()
		time.Sleep(probeEvery / 2)
	}
	reading.Wait()
	return nil
}

func (m *measurement) print() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var took []time.Duration
	for id, at := range m.told {
		if began, ok := m.posted[id]; ok {
			took = append(took, at.Sub(began))
		}
	}
	if len(took) == 0 || len(m.hops) == 0 {
		return errors.New("no webhook came")
	}
	slices.Sort(took)
	slices.Sort(m.hops)
	quantile := func(all []time.Duration, q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
	hop := quantile(m.hops, .5)
	fmt.Printf("POST to webhook: p50 %v, p99 %v (%d of %d)\nbroker hop: p50 %v, p99 %v (%d)\n3 hops + 20 ms: %v\n",
		quantile(took, .5), quantile(took, .99), len(took), len(m.posted), hop, quantile(m.hops, .99), len(m.hops), 3*hop+20*time.Millisecond)
	return nil
}
