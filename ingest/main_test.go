package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/httpapi"
	"keypulse/internal/openapi/openapitest"
	"keypulse/schema"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// kafka-go's connection pools end some time after Close, with their own contexts.
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connPool).discover"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*conn).run"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connGroup).connect"),
		// fasthttp's own: the clock of a process, and a pool's cleaner, which looks every 10 s whether its server has stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

const partitions = 4

// node is an ingest node on a real broker and a real socket.
type node struct {
	testing.TB
	*Ingest
	client   *broker.Client
	server   *httpapi.Server
	url      string
	apiKey   string
	http     *http.Client
	shutdown func()
}

// startNode runs a node on the broker at addr until the test ends. edit may change its configuration.
func startNode(t testing.TB, addr string, edit func(*Config)) *node {
	t.Helper()
	c, log := brokertest.Open(t, addr, partitions)
	cfg := Config{
		Client: c, Incarnation: log, Producer: broker.DefaultProducerConfig(), RulesRev: func() int64 { return 7 },
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	}
	if edit != nil {
		edit(&cfg)
	}
	n := &node{TB: t, Ingest: New(cfg), client: c, http: &http.Client{Transport: openapitest.Transport(t, &http.Transport{})}}
	secret := auth.NewSecret()
	keys := auth.NewTable(secret)
	n.apiKey = newKey(t, secret, keys)
	n.server = httpapi.New(httpapi.Config{BodyLimits: map[string]int{BulkPath: BulkLimit}, Auth: httpapi.Authenticate(keys, auth.NewLimiter().Take, time.Now)})
	n.Register(n.server.App())
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + l.Addr().String()
	stop := run(t, n.Run)
	served := make(chan error, 1)
	go func() { served <- n.server.Serve(l) }()
	n.shutdown = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		stop()
		n.http.CloseIdleConnections()
	})
	t.Cleanup(n.shutdown)
	return n
}

// newKey puts a key without a limit into the table.
func newKey(t testing.TB, secret *auth.Secret, keys *auth.Table) string {
	t.Helper()
	key := auth.NewKey(rand.Reader)
	r := schema.APIKeyRecord{
		ID: "ak_1", Version: 1, Tenant: "acme", Name: "test", HMAC: secret.Digest(key).String(),
		Scopes: auth.DefaultScopes(), Status: schema.APIKeyActive,
	}
	value, err := json.Marshal(r)
	if err == nil {
		err = keys.Apply(0, []byte(r.ID), value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// run runs f until stop is called or the test ends, and waits for it.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// reply is an answer of the API: its status, headers, the members that the tests look at, and how long it took.
type reply struct {
	status int
	header http.Header
	body   string
	took   time.Duration

	ID       int64
	KeyID    string `json:"key_id"`
	Type     string `json:"event_type"`
	EventID  string `json:"event_id"`
	Alerts   int    `json:"alerts_triggered"`
	Score    int
	Judged   bool `json:"evaluated"`
	Count    int
	Events   []reply
	Code     string
	EventIDs []string `json:"event_ids"`
	Errors   []struct {
		Index *int
		Field string
	}
}

// post sends a body; headers are name, value, name, value.
func (n *node) post(path, body string, headers ...string) reply {
	n.Helper()
	req, err := http.NewRequestWithContext(n.Context(), http.MethodPost, n.url+path, strings.NewReader(body))
	if err != nil {
		n.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.apiKey)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	begin := time.Now()
	resp, err := n.http.Do(req)
	if err != nil {
		n.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header, body: string(b), took: time.Since(begin)}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		n.Errorf("%d %s: %v", r.status, b, err)
	}
	return r
}

// event sends one event of a type; a judge gives "alarm-N" N alerts.
func (n *node) event(eventType string, headers ...string) reply {
	n.Helper()
	return n.post("/api/events", eventBody("key-1", eventType), headers...)
}

func eventBody(keyID, eventType string) string {
	return fmt.Sprintf(`{"key_id":%q,"event_type":%q,"severity":"warning"}`, keyID, eventType)
}

func (n *node) want(r reply, status int, code string) {
	n.Helper()
	if r.status != status || r.Code != code {
		n.Errorf("%d %s, want %d %s", r.status, r.body, status, code)
	}
}

// logged is every event in the log.
func (n *node) logged() []schema.Event {
	n.Helper()
	var events []schema.Event
	for partition := range int32(partitions) {
		first, end, err := n.client.Offsets(n.Context(), schema.TopicEvents, partition)
		if err != nil {
			n.Fatal(err)
		}
		for r := n.client.NewReader(schema.TopicEvents, partition, first); r.Next() < end; {
			records, err := r.Fetch(n.Context())
			if err != nil {
				n.Fatal(err)
			}
			for _, record := range records {
				e, err := schema.DecodeEvent(record.Key, record.Value, record.Time)
				if err != nil {
					n.Fatal(err)
				}
				events = append(events, e)
			}
		}
	}
	return events
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for: %s", what)
		}
	}
}

// waiting is how many events' verdicts are waited for.
func (n *node) waiting() (waiting int) {
	for _, v := range n.verdicts {
		v.mu.Lock()
		waiting += len(v.waits)
		v.mu.Unlock()
	}
	return waiting
}

// judged is up to where a partition is judged, as far as the node knows.
func (n *node) judged(partition int32) int64 {
	v := n.verdicts[partition]
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.judged
}

// judge plays the processor: it writes a verdict for what it reads, and then says all of it again with other borders.
type judge struct {
	client *broker.Client
	gate   sync.RWMutex // held while it is silent
}

// startJudge runs a judge until the test ends.
func startJudge(t testing.TB, addr string) *judge {
	t.Helper()
	c, _ := brokertest.Open(t, addr, partitions)
	j := &judge{client: c}
	for partition := range int32(partitions) {
		run(t, func(ctx context.Context) error { return j.run(ctx, partition) })
	}
	return j
}

func (j *judge) run(ctx context.Context, partition int32) error {
	a := broker.NewAppend(j.client, schema.TopicVerdicts, partition, broker.DefaultProducerConfig())
	r := j.client.NewReader(schema.TopicEvents, partition, 0)
	var exceptions []schema.Exception
	judged := int64(0)
	for {
		records, err := r.Fetch(ctx)
		if err != nil {
			return unlessStopped(ctx, err)
		}
		if len(records) == 0 {
			continue
		}
		verdict := schema.Verdict{From: judged, To: r.Next()}
		for i := range records {
			x, err := exception(&records[i])
			if err != nil {
				return err
			}
			if x.Alerts != nil {
				verdict.Exceptions = append(verdict.Exceptions, x)
			}
		}
		exceptions = append(exceptions, verdict.Exceptions...)
		judged = verdict.To
		all := schema.Verdict{From: 0, To: judged, Exceptions: exceptions}
		j.gate.RLock()
		_, err = a.Records(ctx, broker.Record{Value: verdict.AppendValue(nil), Time: 1}, broker.Record{Value: all.AppendValue(nil), Time: 1})
		j.gate.RUnlock()
		if err != nil {
			return unlessStopped(ctx, err)
		}
	}
}

func exception(r *broker.Record) (schema.Exception, error) {
	e, err := schema.DecodeEvent(r.Key, r.Value, r.Time)
	if err != nil {
		return schema.Exception{}, err
	}
	x := schema.Exception{Offset: r.Offset, Score: 70}
	alerts := 0
	if _, err := fmt.Sscanf(e.Type, "alarm-%d", &alerts); err != nil {
		return schema.Exception{Offset: r.Offset}, nil //nolint:nilerr // another type raises nothing
	}
	for i := range alerts {
		x.Alerts = append(x.Alerts, schema.Alert{ID: fmt.Sprint("al_", r.Offset, "_", i), RuleID: fmt.Sprint("rule-", i)})
	}
	return x, nil
}

// silence makes the judge write nothing until the function it returns is called, or the test ends.
func (j *judge) silence(t testing.TB) (speak func()) {
	j.gate.Lock()
	speak = sync.OnceFunc(j.gate.Unlock)
	t.Cleanup(speak)
	return speak
}
