package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"keypulse/internal/auth/authtest"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
	"keypulse/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 3

// logs is a log that tests write as ingest and the processor would, and a hub over it.
type logs struct {
	*testing.T
	hub      *stream.Hub
	log      schema.LogRecord
	client   *broker.Client
	events   []*broker.Append
	verdicts []*broker.Append
	next     []int64
	stop     func() // the hub
}

func newLogs(t *testing.T, change ...func(*stream.Config)) *logs {
	t.Helper()
	c, log := brokertest.Start(t, partitions)
	l := &logs{T: t, log: log, client: c, next: make([]int64, partitions)}
	for p := range int32(partitions) {
		l.events = append(l.events, broker.NewAppend(c, schema.TopicEvents, p, broker.DefaultProducerConfig()))
		l.verdicts = append(l.verdicts, broker.NewAppend(c, schema.TopicVerdicts, p, broker.DefaultProducerConfig()))
	}
	l.hub, l.stop = l.newHub(change...)
	return l
}

// newHub runs another hub over the same log: another node's.
func (l *logs) newHub(change ...func(*stream.Config)) (hub *stream.Hub, stop func()) {
	cfg := stream.Config{Client: l.client, Incarnation: l.log, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}
	for _, f := range change {
		f(&cfg)
	}
	hub = stream.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	l.Cleanup(stop)
	return hub, stop
}

// write writes an event and its verdict: alerts are how many it raised, first is the id of the first of a duplicate.
func (l *logs) write(p int32, tenant schema.Tenant, keyID string, alerts int, first int64) int64 {
	l.Helper()
	offset := l.next[p]
	l.next[p]++
	e := schema.Event{Tenant: tenant, KeyID: keyID, Type: "export", Severity: schema.Warning, SourceIP: "10.0.0.7", EventID: fmt.Sprint(offset), CreatedAt: schema.Millis(1_000_000 + offset)}
	l.append(l.events[p], broker.Record{Key: schema.RecordKey(tenant, keyID), Value: e.AppendValue(nil), Time: e.CreatedAt})
	v := schema.Verdict{From: offset, To: offset + 1}
	if alerts > 0 || first > 0 {
		x := schema.Exception{Offset: offset, Score: 60, DuplicateOf: first}
		for i := range alerts {
			x.Alerts = append(x.Alerts, schema.Alert{ID: fmt.Sprintf("al_%d_%d_%d", p, offset, i), RuleID: "r", RuleName: "R", Severity: schema.Critical, EventID: schema.EventID(l.log.Base, offset, p), RaisedAt: e.CreatedAt})
		}
		v.Exceptions = []schema.Exception{x}
	}
	l.append(l.verdicts[p], broker.Record{Value: v.AppendValue(nil)})
	return schema.EventID(l.log.Base, offset, p)
}

func (l *logs) append(to *broker.Append, r broker.Record) {
	l.Helper()
	if _, err := to.Records(l.Context(), r); err != nil {
		l.Fatal(err)
	}
}

// seen is a frame as a client understands it.
type seen struct {
	event, id string
	what      string // the event's id, the alert's id, or the gap's data
}

func parse(t testing.TB, b []byte) (all []seen) {
	t.Helper()
	for text := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
		var f seen
		var data string
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "event":
				f.event = value
			case "id":
				f.id = value
			case "data":
				data = value
			}
		}
		var body struct {
			ID any `json:"id"`
		}
		if err := json.Unmarshal([]byte(data), &body); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		f.what = data
		switch id := body.ID.(type) {
		case float64:
			f.what = fmt.Sprint(int64(id))
		case string:
			f.what = id
		}
		all = append(all, f)
	}
	return all
}

// subscribe joins the stream of tenant demo; id is where to go on from.
func (l *logs) subscribe(hub *stream.Hub, filter stream.Filter, id string) *stream.Subscription {
	l.Helper()
	var from *stream.Position
	if id != "" {
		at, err := stream.ParsePosition(id, l.log)
		if err != nil {
			l.Fatal(err)
		}
		from = &at
	}
	s, err := hub.Subscribe(l.Context(), authtest.Tenant(l.T, "demo"), filter, from)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(s.Close)
	return s
}

// read reads n frames or more.
func (l *logs) read(s *stream.Subscription, n int) (all []seen) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 20*time.Second)
	defer cancel()
	for len(all) < n {
		b, err := s.Next(ctx)
		if err != nil {
			l.Fatalf("after %d of %d frames: %v", len(all), n, err)
		}
		all = append(all, parse(l, b)...)
	}
	return all
}

func whats(all []seen) (out []string) {
	for _, f := range all {
		out = append(out, f.event+" "+f.what)
	}
	return out
}

func TestShowsWhatTheFilterLetsPass(t *testing.T) {
	l := newLogs(t)
	l.write(0, "demo", "before", 0, 0)
	s := l.subscribe(l.hub, stream.Filter{KeyID: "k", MinScore: 5}, "")
	l.write(0, "other", "k", 1, 0)
	l.write(0, "demo", "j", 1, 0)
	one := l.write(0, "demo", "k", 2, 0)
	l.write(0, "demo", "k", 0, one) // a duplicate
	two := l.write(0, "demo", "k", 0, 0)
	got := whats(l.read(s, 4))
	want := []string{fmt.Sprint("event ", one), "alert al_0_3_0", "alert al_0_3_1", fmt.Sprint("event ", two)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestResumesFromEveryFrame goes on, on another node, from every frame that the first saw, in the middle of a row, too:
// what follows is what the first saw after it, by partition.
func TestResumesFromEveryFrame(t *testing.T) {
	l := newLogs(t)
	s := l.subscribe(l.hub, stream.Filter{}, "")
	r := rand.New(rand.NewPCG(1, 1))
	frames := 0
	for range 60 {
		alerts := max(r.IntN(5)-2, 0)
		if tenant := []schema.Tenant{"demo", "demo", "other"}[r.IntN(3)]; tenant == "demo" {
			frames += 1 + alerts
			l.write(r.Int32N(partitions), tenant, "k", alerts, 0)
		} else {
			l.write(r.Int32N(partitions), tenant, "k", alerts, 0)
		}
	}
	all := l.read(s, frames)
	if len(all) != frames {
		t.Fatalf("%d frames, want %d", len(all), frames)
	}
	other, _ := l.newHub()
	for i := range all[:frames-1] {
		s := l.subscribe(other, stream.Filter{}, all[i].id)
		got, want := whats(l.read(s, frames-1-i)), whats(all[i+1:])
		s.Close()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("from frame %d: got %q, want %q", i, got, want)
		}
	}
}

// TestResumesWhileEventsArrive leaves and comes back again and again while events are written, once in the middle of what Next gave.
func TestResumesWhileEventsArrive(t *testing.T) {
	l := newLogs(t)
	const events = 600
	s := l.subscribe(l.hub, stream.Filter{}, "")
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range events {
			l.write(int32(i%partitions), "demo", "k", i%2, 0)
		}
	})
	seenOnce := map[string]int{}
	var last string
	r := rand.New(rand.NewPCG(2, 2))
	for total := 0; total < events+events/2; {
		got := l.read(s, 1)
		got = got[:1+r.IntN(len(got))]
		for _, f := range got {
			seenOnce[f.event+f.what]++
			last = f.id
		}
		total += len(got)
		s.Close()
		s = l.subscribe(l.hub, stream.Filter{}, last)
	}
	writing.Wait()
	for what, n := range seenOnce {
		if n != 1 {
			t.Errorf("%s came %d times", what, n)
		}
	}
	if len(seenOnce) != events+events/2 {
		t.Errorf("%d frames, want %d", len(seenOnce), events+events/2)
	}
}

// TestSlowSubscriberGetsAGap does not read while more is written than its queue takes; another subscriber is not slowed.
func TestSlowSubscriberGetsAGap(t *testing.T) {
	l := newLogs(t, func(cfg *stream.Config) { cfg.QueueBytes = 4 << 10 })
	slow, quick := l.subscribe(l.hub, stream.Filter{}, ""), l.subscribe(l.hub, stream.Filter{}, "")
	const events = 100
	for range events {
		l.write(0, "demo", "k", 0, 0)
		l.read(quick, 1)
	}
	got := l.read(slow, 2)
	kept := len(got)
	if got[kept-1].event != "gap" {
		got = append(got, l.read(slow, 1)...)
		kept = len(got)
	}
	gap := got[kept-1]
	if want := fmt.Sprintf(`{"missed":%d,"at_most":false,"reason":"slow"}`, events-kept+1); gap.event != "gap" || gap.what != want {
		t.Fatalf("got %+v, want a gap of %s", gap, want)
	}
	next := l.write(0, "demo", "k", 0, 0)
	if got := whats(l.read(slow, 1)); got[0] != fmt.Sprint("event ", next) {
		t.Errorf("after the gap: %q", got)
	}
	again := l.subscribe(l.hub, stream.Filter{}, gap.id)
	if got := whats(l.read(again, 1)); got[0] != fmt.Sprint("event ", next) {
		t.Errorf("from the gap's id: %q", got)
	}
}

func TestTooFarBackAndExpired(t *testing.T) {
	l := newLogs(t, func(cfg *stream.Config) { cfg.MaxReplay = 50 })
	s := l.subscribe(l.hub, stream.Filter{}, "")
	l.write(0, "demo", "k", 0, 0)
	first := l.read(s, 1)[0].id
	for range 51 {
		l.write(0, "demo", "k", 0, 0)
	}
	l.read(s, 51)
	far := l.subscribe(l.hub, stream.Filter{}, first)
	if got := l.read(far, 1)[0]; got.event != "gap" || got.what != `{"missed":51,"at_most":true,"reason":"too_far"}` {
		t.Errorf("too far: %+v", got)
	}

	if err := l.client.DeleteBefore(t.Context(), schema.TopicEvents, 0, 30); err != nil {
		t.Fatal(err)
	}
	generous, _ := l.newHub()
	expired := l.subscribe(generous, stream.Filter{}, first)
	got := l.read(expired, 1+52-30)
	if got[0].event != "gap" || got[0].what != `{"missed":29,"at_most":true,"reason":"expired"}` {
		t.Errorf("expired: %+v", got[0])
	}
	if want := fmt.Sprint(schema.EventID(l.log.Base, 30, 0)); got[1].what != want {
		t.Errorf("after what expired: %+v, want %s", got[1], want)
	}
}

func TestEndsAndRefuses(t *testing.T) {
	l := newLogs(t, func(cfg *stream.Config) { cfg.MaxSubscribers = 1 })
	s := l.subscribe(l.hub, stream.Filter{}, "")
	if _, err := l.hub.Subscribe(t.Context(), authtest.Tenant(t, "demo"), stream.Filter{}, nil); !errors.Is(err, stream.ErrFull) {
		t.Errorf("a second subscriber: %v", err)
	}
	l.stop()
	if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := l.hub.Subscribe(t.Context(), authtest.Tenant(t, "demo"), stream.Filter{}, nil); !errors.Is(err, stream.ErrEnded) {
		t.Errorf("subscribe after the end: %v", err)
	}
}

func TestRefusesOtherPositions(t *testing.T) {
	log := schema.LogRecord{Base: 1, Partitions: 3}
	for _, text := range []string{"", "x", "AQ", "AQEDAAAAAAAAAAAA", strings.Repeat("A", 20_000)} {
		if _, err := stream.ParsePosition(text, log); !errors.Is(err, stream.ErrPosition) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
