package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// start runs a good broker, a judge and a node.
func start(t testing.TB, edit func(*Config)) (*node, *judge, *brokertest.Unreliable) {
	t.Helper()
	u := brokertest.StartUnreliable(t, 1)
	n := startNode(t, u.Addr, edit)
	return n, startJudge(t, u.Addr), u
}

func TestPostTellsTheVerdict(t *testing.T) {
	n, _, _ := start(t, nil)
	r := n.post("/api/events", `{"key_id":"k","event_type":"alarm-2","severity":"critical","details":{"a":1e2},"event_id":"mine"}`)
	if r.status != 201 || !r.Judged || r.Alerts != 2 || r.Score != 70 || r.EventID != "mine" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if applied, ok := r.header["Preference-Applied"]; ok {
		t.Errorf("Preference-Applied: %q to a request that prefers nothing", applied)
	}
	second := n.post("/api/events", `{"key_id":"k","event_type":"export","severity":"critical"}`)
	if !second.Judged || second.Alerts != 0 || second.Score != 30 || second.ID != r.ID+schema.MaxPartitions {
		t.Errorf("%s after id %d", second.body, r.ID)
	}
	events := n.logged()
	if len(events) != 2 {
		t.Fatalf("%d events in the log", len(events))
	}
	e := events[0]
	if e.Tenant != "acme" || e.KeyID != "k" || string(e.Details) != `{"a":1e2}` || e.EventID != "mine" || !e.OwnID || e.RulesRev != 7 {
		t.Errorf("logged %+v", e)
	}
	if e := events[1]; e.OwnID || e.EventID != second.EventID {
		t.Errorf("logged %+v, answered event_id %s", e, second.EventID)
	}
}

func TestBatchKeepsItsOrderAndSumsItsAlerts(t *testing.T) {
	n, _, _ := start(t, nil)
	var types, bodies []string
	want := 0
	for i := range MaxBatch {
		types = append(types, fmt.Sprint("alarm-", i%3))
		bodies = append(bodies, eventBody(fmt.Sprint("key-", i%17), types[i]))
		want += i % 3
	}
	for range 3 {
		r := n.post("/api/events/batch", `{"events":[`+strings.Join(bodies, ",")+`]}`)
		if r.status != 201 || r.Count != MaxBatch || len(r.Events) != MaxBatch || r.Alerts != want {
			t.Fatalf("%d, count %d, %d events, %d alerts, want %d", r.status, r.Count, len(r.Events), r.Alerts, want)
		}
		ids := map[int64]bool{}
		for i, e := range r.Events {
			ids[e.ID] = true
			if e.KeyID != fmt.Sprint("key-", i%17) || e.Type != types[i] || !e.Judged || e.Alerts != i%3 {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if len(ids) != MaxBatch {
			t.Errorf("%d ids", len(ids))
		}
	}
	if got := len(n.logged()); got != 3*MaxBatch {
		t.Errorf("%d events in the log", got)
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	n, _, _ := start(t, nil)
	good := eventBody("k", "export")
	r := n.post("/api/events/batch", `{"events":[`+good+`,{"key_id":"k","event_type":"x","severity":"bad"},`+good+`,{"key_id":7,"event_type":"x","severity":"nominal"}]}`)
	n.want(r, 400, "invalid_field")
	var named []string
	for _, e := range r.Errors {
		named = append(named, fmt.Sprintf("%d %s", *e.Index, e.Field))
	}
	if !slices.Equal(named, []string{"1 severity", "3 key_id"}) {
		t.Errorf("named %q", named)
	}
	for _, body := range []string{
		`{"events":[]}`, `{"events":[` + strings.Repeat(good+",", MaxBatch) + good + `]}`, `{"events":[` + good + `]} x`, `[` + good + `]`, good, ``,
	} {
		if r := n.post("/api/events/batch", body); r.status != 400 {
			t.Errorf("%.40s…: %d", body, r.status)
		}
	}
	if got := n.logged(); len(got) != 0 {
		t.Errorf("logged %+v", got)
	}
}

func TestPrefer(t *testing.T) {
	n, j, _ := start(t, nil)
	n.event("first")
	r := n.event("alarm-1", "Prefer", "respond-async")
	if r.status != 202 || r.Judged || r.Alerts != 0 || r.Score != 10 || r.header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("respond-async: %d %s %v", r.status, r.body, r.header)
	}
	r = n.post("/api/events/batch", `{"events":[`+eventBody("k", "alarm-1")+`]}`, "Prefer", "handling=strict", "Prefer", "Respond-Async")
	if r.status != 202 || r.Events[0].Judged || r.header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("a batch, in the second header: %d %s %v", r.status, r.body, r.header)
	}
	speak := j.silence(t)
	r = n.event("alarm-1", "Prefer", "wait=0")
	if r.status != 201 || r.Judged || r.header.Get("Preference-Applied") != "wait=0" {
		t.Errorf("wait=0: %d %s %v", r.status, r.body, r.header)
	}
	if r = n.event("alarm-1"); r.Judged || r.took < n.cfg.VerdictWait {
		t.Errorf("a silent processor: %s after %v", r.body, r.took)
	}
	// Who asks for a long wait gets it, also while others no longer wait.
	var wg sync.WaitGroup
	wg.Go(func() {
		r := n.event("alarm-3", "Prefer", "wait=20")
		if r.status != 201 || !r.Judged || r.Alerts != 3 || r.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("wait=20: %d %s %v", r.status, r.body, r.header)
		}
	})
	until(t, "the request waits", func() bool { return n.waiting() == 1 })
	if r = n.event("alarm-1"); r.Judged || r.took >= n.cfg.VerdictWait {
		t.Errorf("behind: %s after %v", r.body, r.took)
	}
	speak()
	wg.Wait()
}

// median is the middle time of some posts, which all must be answered 201.
func (n *node) median(posts int, judged bool) time.Duration {
	n.Helper()
	var took []time.Duration
	for range posts {
		r := n.event("export")
		if r.status != 201 || r.Judged != judged {
			n.Errorf("%d %s, want evaluated %v", r.status, r.body, judged)
		}
		took = append(took, r.took)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestSilentProcessor: the first answers wait for it, later ones do not, and all do when it is back.
func TestSilentProcessor(t *testing.T) {
	n, j, _ := start(t, nil)
	n.median(20, true)
	healthy := n.median(100, true)
	speak := j.silence(t)
	if r := n.event("export"); r.Judged || r.took < n.cfg.VerdictWait || r.took > n.cfg.VerdictWait+200*time.Millisecond {
		t.Errorf("the first answer: %s after %v", r.body, r.took)
	}
	if silent := n.median(100, false); silent > healthy+2*time.Millisecond {
		t.Errorf("half of the answers take %v while the processor is silent, %v before", silent, healthy)
	}
	speak()
	until(t, "the verdicts have caught up", func() bool { return n.event("export").Judged })
	n.median(20, true)
	if waiting := n.waiting(); waiting != 0 {
		t.Errorf("%d events are still waited for", waiting)
	}
}

// TestVerdictBeforeItsAcknowledgement: the processor may judge what the log has not yet acknowledged.
func TestVerdictBeforeItsAcknowledgement(t *testing.T) {
	n, _, u := start(t, nil)
	n.event("first")
	lost := u.Answer(brokertest.Produce, schema.TopicEvents, brokertest.NotEnoughReplicasAfterAppend, -1)
	partition := schema.Partition(schema.RecordKey("acme", "key-1"), partitions)
	var wg sync.WaitGroup
	wg.Go(func() {
		if r := n.event("alarm-2"); r.status != 201 || !r.Judged || r.Alerts != 2 || r.took > n.cfg.VerdictWait+200*time.Millisecond {
			t.Errorf("%d %s after %v", r.status, r.body, r.took)
		}
	})
	until(t, "the verdict", func() bool { return n.judged(partition) == 2 })
	lost.Remove()
	wg.Wait()
}

func TestFullDiskRefuses(t *testing.T) {
	full := errors.New("3 MiB are free")
	n, _, _ := start(t, func(cfg *Config) { cfg.Refuse = func() error { return full } })
	r := n.event("export")
	n.want(r, 503, "storage_full")
	if r.header.Get("Retry-After") != "30" || strings.Contains(r.body, "3 MiB") {
		t.Errorf("%s %v", r.body, r.header)
	}
	if err := n.Check(t.Context()); !errors.Is(err, full) {
		t.Errorf("ready: %v", err)
	}
	if got := n.logged(); len(got) != 0 {
		t.Errorf("logged %+v", got)
	}
}

func TestFullProducerRefuses(t *testing.T) {
	n, _, u := start(t, func(cfg *Config) { cfg.Producer.BufferedBytes = 1000 })
	n.event("first")
	stuck := u.Answer(brokertest.Produce, schema.TopicEvents, brokertest.NotEnoughReplicas, -1)
	large := fmt.Sprintf(`{"key_id":"k","event_type":"large","severity":"nominal","details":{"x":"%s"}}`, strings.Repeat("x", 700))
	var wg sync.WaitGroup
	wg.Go(func() { n.want(n.post("/api/events", large), 201, "") })
	until(t, "a full buffer", func() bool { return n.producer.Buffered() > 700 })
	r := n.post("/api/events", large)
	n.want(r, 503, "overloaded")
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("%v", r.header)
	}
	stuck.Remove()
	wg.Wait()
	n.want(n.post("/api/events", large), 201, "")
	if got := len(n.logged()); got != 3 {
		t.Errorf("%d events in the log", got)
	}
}

func hasty(cfg *Config) { cfg.Producer.Timeout = 2 * time.Second }

// TestUnknownOutcome: the log has the events, but never says so.
func TestUnknownOutcome(t *testing.T) {
	n, _, u := start(t, hasty)
	lost := u.Answer(brokertest.Produce, schema.TopicEvents, brokertest.NotEnoughReplicasAfterAppend, -1)
	r := n.post("/api/events/batch", `{"events":[`+eventBody("key-1", "a")+`,{"key_id":"key-1","event_type":"b","severity":"nominal","event_id":"mine"}]}`)
	n.want(r, 503, "outcome_unknown")
	if len(r.EventIDs) != 2 || len(r.EventIDs[0]) != 36 || r.EventIDs[1] != "mine" || r.header.Get("Retry-After") != "1" {
		t.Errorf("event_ids %q, %v", r.EventIDs, r.header)
	}
	lost.Remove()
	if r := n.event("after"); r.status != 201 {
		t.Errorf("afterwards: %d %s", r.status, r.body)
	}
	times := map[string]int{}
	for _, e := range n.logged() {
		times[e.EventID]++
	}
	for i, id := range r.EventIDs {
		if times[id] != 1 {
			t.Errorf("event %d is in the log %d times", i, times[id])
		}
	}
}

// TestBrokerIsGone: nothing is accepted, and nobody is told otherwise.
func TestBrokerIsGone(t *testing.T) {
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	n := startNode(t, e.Addr(), hasty)
	n.want(n.event("first", "Prefer", "respond-async"), 202, "")
	e.Close()
	if r := n.event("on an old connection"); r.status != 503 || r.Code != "outcome_unknown" && r.Code != "unavailable" {
		t.Errorf("%d %s", r.status, r.body) // whether it was sent depends on which connection was free
	}
	for range 3 {
		r := n.event("later")
		n.want(r, 503, "unavailable")
		if r.header.Get("Retry-After") == "" || strings.Contains(r.body, "refused") || r.EventIDs != nil {
			t.Errorf("%s %v", r.body, r.header)
		}
	}
	if n.Check(t.Context()) == nil {
		t.Error("the node says that it is ready")
	}
}

// TestShutdownEndsTheWait: a request that waits for its verdict is answered when the server stops.
func TestShutdownEndsTheWait(t *testing.T) {
	n, j, _ := start(t, nil)
	n.event("first")
	j.silence(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if r := n.event("alarm-1", "Prefer", "wait=30"); r.status != 201 || r.Judged {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	until(t, "the request waits", func() bool { return n.waiting() == 1 })
	begin := time.Now()
	n.shutdown()
	wg.Wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
}

// TestStartsWhereNoVerdictIsLeft: retention has dropped all verdicts, as it does when nothing happens for long.
func TestStartsWhereNoVerdictIsLeft(t *testing.T) {
	n, _, u := start(t, nil)
	for i := range 20 {
		if r := n.post("/api/events", eventBody(fmt.Sprint("key-", i), "export")); !r.Judged {
			t.Fatal(r.body)
		}
	}
	n.shutdown()
	for partition := range int32(partitions) {
		u.DropBelow(t, schema.TopicVerdicts, partition, -1)
	}
	again := startNode(t, u.Addr, nil)
	for i := range 20 {
		if r := again.post("/api/events", eventBody(fmt.Sprint("key-", i), "alarm-1")); !r.Judged || r.Alerts != 1 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

// TestVerdictsOverABadNetwork: answers say the truth or that they do not know it.
func TestVerdictsOverABadNetwork(t *testing.T) {
	n, _, u := start(t, func(cfg *Config) { cfg.Producer.Timeout = time.Second })
	n.event("first")
	u.Spoil(brokertest.Faults{CutRequest: 0.03, CutAnswer: 0.03, Delay: 0.03, MaxDelay: 200 * time.Millisecond})
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := range 50 {
				r := n.post("/api/events", eventBody(fmt.Sprint("key-", i), fmt.Sprint("alarm-", c)))
				switch {
				case r.status == 201 && r.Judged && r.Alerts != c, r.status == 201 && !r.Judged && r.Alerts != 0:
					t.Errorf("%s, want %d alerts", r.body, c)
				case r.status != 201 && r.Code != "outcome_unknown" && r.Code != "unavailable":
					t.Errorf("%d %s", r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
	u.Calm(t)
	until(t, "verdicts", func() bool { return n.event("alarm-1").Judged })
}

// Events lie in the request's body until they are answered. So requests at the same time must not see each other's.
func TestRequestsAtOnceKeepTheirOwnEvents(t *testing.T) {
	n, _, _ := start(t, nil)
	var wg sync.WaitGroup
	for client := range 16 {
		wg.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("client-%d-%d-%s", client, i, strings.Repeat("x", client))
				body := fmt.Sprintf(`{"key_id":%q,"event_type":"a\u0062","severity":"nominal","actor":%q,"source_ip":"2001:DB8::%X","event_id":%q,"details":{"n":%q}}`,
					name, name, client+1, name, name)
				r := n.post("/api/events", body)
				if r.status != 201 || strings.Count(r.body, `"`+name+`"`) != 4 || !strings.Contains(r.body, fmt.Sprintf(`"2001:db8::%x"`, client+1)) {
					t.Errorf("%s: %d %s", name, r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
	for _, e := range n.logged() {
		if e.KeyID != e.Actor || e.KeyID != e.EventID || string(e.Details) != fmt.Sprintf(`{"n":%q}`, e.KeyID) || e.Type != "ab" {
			t.Errorf("logged %+v", e)
		}
	}
}
