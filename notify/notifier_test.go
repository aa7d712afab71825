package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a broker with what the notifier reads, and endpoints that it sends to.
type office struct {
	*testing.T
	client   *broker.Client
	log      schema.LogRecord
	secret   *auth.Secret
	webhooks *Webhooks
	silences *Silences
	tags     *Tags
	events   *broker.Append
	verdicts *broker.Append
	next     int64 // event
	versions int64 // of webhooks' records

	mu       sync.Mutex
	disabled []schema.WebhookRecord // guards the following: what notifiers wrote
}

func newOffice(t *testing.T) *office {
	t.Helper()
	c, log := brokertest.Start(t, 1)
	return &office{
		T: t, client: c, log: log, secret: auth.NewSecret(), webhooks: NewWebhooks(), silences: NewSilences(), tags: NewTags(),
		events:   broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig()),
		verdicts: broker.NewAppend(c, schema.TopicVerdicts, 0, broker.DefaultProducerConfig()),
	}
}

// raise writes n events of a tenant that raised an alert each, as of a time, and returns the alerts' ids.
func (o *office) raise(tenant schema.Tenant, n int, at time.Time) (ids []string) {
	o.Helper()
	return o.raiseBy(tenant, "key", "export", schema.Critical, n, at)
}

// raiseBy does the same for a key, by a rule of a severity.
func (o *office) raiseBy(tenant schema.Tenant, key, rule string, severity schema.Severity, n int, at time.Time) (ids []string) {
	o.Helper()
	var events []broker.Record
	verdict := schema.Verdict{From: o.next, To: o.next + int64(n)}
	for range n {
		e := schema.Event{Tenant: tenant, KeyID: key, Type: "export", Severity: schema.Critical, EventID: fmt.Sprint(o.next), CreatedAt: schema.MillisOf(at)}
		events = append(events, broker.Record{Key: schema.RecordKey(tenant, key), Value: e.AppendValue(nil), Time: e.CreatedAt})
		id := fmt.Sprintf("al_%d", o.next)
		ids = append(ids, id)
		verdict.Exceptions = append(verdict.Exceptions, schema.Exception{Offset: o.next, Score: 50, Alerts: []schema.Alert{{
			ID: id, RuleID: rule, RuleVersion: 1, RuleName: "An export", Severity: severity, Message: "exported",
			EventID: schema.EventID(o.log.Base, o.next, 0), RaisedAt: schema.MillisOf(at), Values: []byte("{}"),
		}}})
		o.next++
	}
	_, err := o.events.Records(o.Context(), events...)
	if err == nil {
		_, err = o.verdicts.Records(o.Context(), broker.Record{Value: verdict.AppendValue(nil)})
	}
	if err != nil {
		o.Fatal(err)
	}
	return ids
}

// put writes a version of a webhook into the table.
func (o *office) put(r schema.WebhookRecord) {
	o.Helper()
	value, err := json.Marshal(r)
	if err == nil {
		err = o.webhooks.Apply(o.versions, schema.RecordKey(r.Tenant, r.ID), value)
	}
	if err != nil {
		o.Fatal(err)
	}
	o.versions++
}

// hook makes a webhook of a tenant to an endpoint.
func (o *office) hook(tenant schema.Tenant, id string, e *endpoint, change func(*schema.WebhookRecord)) {
	o.Helper()
	r := schema.WebhookRecord{
		Tenant: tenant, ID: id, Version: 1, Name: id, Type: schema.TargetWebhook, Burst: DefaultBurst, DigestSeconds: 1,
		Sealed: Credentials{URL: e.URL, Secret: NewSecret()}.Seal(o.secret),
	}
	if change != nil {
		change(&r)
	}
	o.put(r)
}

// start runs a notifier until stop.
func (o *office) start(change func(*Config)) (stop func()) {
	o.Helper()
	cfg := Config{
		Client: o.client, Incarnation: o.log, Webhooks: o.webhooks, Silences: o.silences, Tags: o.tags, Secret: o.secret,
		Networks: prefixes("127.0.0.0/8"), Log: zaptest.NewLogger(o), Schedule: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond},
		Disable: func(_ context.Context, r schema.WebhookRecord) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.disabled = append(o.disabled, r)
			o.put(r)
			return nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(cfg).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				o.Error(err)
			}
		})
	}
	o.Cleanup(stop)
	return stop
}

// deliveries are a webhook's, as any node sees them.
func (o *office) deliveries(tenant schema.Tenant, id string) []Delivery {
	o.Helper()
	all, err := NewView(o.client).Deliveries(o.Context(), tenant, id)
	if err != nil {
		o.Fatal(err)
	}
	return all
}

func (o *office) await(what string, f func() error) {
	o.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for err := f(); err != nil; err = f() {
		if time.Now().After(deadline) {
			o.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// endpoint is a target.
type endpoint struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter, r *http.Request) // the n-th request, from 1

	mu  sync.Mutex
	all []posted // guards the following
}

type posted struct {
	id      string
	at      time.Time
	alerts  []string
	Type    string
	Delayed bool
	Data    struct {
		Alert    struct{ ID string }
		Count    int
		AlertIDs []string `json:"alert_ids"`
		Unlisted int
	}
}

func newEndpoint(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *endpoint {
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		p := posted{id: r.Header.Get("webhook-id"), at: time.Now()}
		if err == nil {
			err = json.Unmarshal(body, &p)
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if p.alerts = p.Data.AlertIDs; p.Type == typeAlert {
			p.alerts = []string{p.Data.Alert.ID}
		}
		e.mu.Lock()
		e.all = append(e.all, p)
		n := len(e.all)
		e.mu.Unlock()
		if e.answer != nil {
			e.answer(n, w, r)
		}
	}))
	t.Cleanup(func() {
		e.CloseClientConnections()
		e.Close()
	})
	return e
}

func (e *endpoint) got() []posted {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// alerts counts how often the endpoint was told each alert.
func (e *endpoint) alerts() map[string]int {
	all := map[string]int{}
	for _, p := range e.got() {
		for _, id := range p.alerts {
			all[id]++
		}
	}
	return all
}

// has says what is missing of the alerts, or came more than once.
func (e *endpoint) has(ids []string) error {
	got := e.alerts()
	for _, id := range ids {
		if got[id] != 1 {
			return fmt.Errorf("%s came %d times, %d of %d came", id, got[id], len(got), len(ids))
		}
	}
	if len(got) != len(ids) {
		return fmt.Errorf("%d alerts came, want %d", len(got), len(ids))
	}
	return nil
}

// TestDeadTargetsDelayNobody has one webhook whose endpoint never answers, one that always fails, and one that works.
func TestDeadTargetsDelayNobody(t *testing.T) {
	o := newOffice(t)
	hung := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	failing := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	good := newEndpoint(t, nil)
	o.hook("demo", "hung", hung, nil)
	o.hook("demo", "failing", failing, nil)
	o.hook("demo", "good", good, nil)
	o.start(func(cfg *Config) { cfg.InFlight = 8 })
	ids := o.raise("demo", 15, time.Now())
	o.await("all alerts at the good endpoint", func() error { return good.has(ids) })
	o.await("failed for good", func() error {
		for _, d := range o.deliveries("demo", "failing") {
			if d.State != Failed || d.Attempts == 0 {
				return fmt.Errorf("%+v", d)
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.disabled) != 1 || o.disabled[0].ID != "failing" || o.disabled[0].Disabled != schema.DisabledFailing {
			return fmt.Errorf("disabled: %+v", o.disabled)
		}
		return nil
	})
	if n := len(hung.got()); n == 0 || n > 4 {
		t.Errorf("%d messages at once are on their way to an endpoint that does not answer", n)
	}
	if n := len(o.deliveries("demo", "hung")); n != 15 {
		t.Errorf("%d deliveries wait for the hung endpoint", n)
	}
}

// TestRouting has webhooks that want some rules, severities or tags, all of these at once, or everything.
func TestRouting(t *testing.T) {
	o := newOffice(t)
	tagged, err := json.Marshal(schema.KeyRecord{Tenant: "demo", KeyID: "hot", Name: "Hot", Version: 1, Tags: []string{"hot", "eu"}})
	if err == nil {
		err = o.tags.Apply(0, schema.RecordKey("demo", "hot"), tagged)
	}
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]func(*schema.WebhookRecord){
		"everything": func(*schema.WebhookRecord) {},
		"rules":      func(r *schema.WebhookRecord) { r.Rules = []string{"export", "another"} },
		"severities": func(r *schema.WebhookRecord) { r.Severities = []string{"critical"} },
		"tags":       func(r *schema.WebhookRecord) { r.Tags = []string{"us", "eu"} },
		"all three": func(r *schema.WebhookRecord) {
			r.Rules, r.Severities, r.Tags = []string{"export"}, []string{"critical"}, []string{"hot"}
		},
	}
	ends := map[string]*endpoint{}
	for id, change := range wanted {
		ends[id] = newEndpoint(t, nil)
		o.hook("demo", id, ends[id], change)
	}
	o.start(nil)
	want := map[string][]string{}
	for _, a := range []struct {
		key, rule string
		severity  schema.Severity
		to        []string
	}{
		{"cold", "sign", schema.Warning, nil},
		{"cold", "export", schema.Warning, []string{"rules"}},
		{"cold", "sign", schema.Critical, []string{"severities"}},
		{"hot", "sign", schema.Warning, []string{"tags"}},
		{"hot", "export", schema.Critical, []string{"rules", "severities", "tags", "all three"}},
	} {
		ids := o.raiseBy("demo", a.key, a.rule, a.severity, 1, time.Now())
		for _, id := range append(a.to, "everything") {
			want[id] = append(want[id], ids...)
		}
	}
	for id, e := range ends {
		o.await(id, func() error { return e.has(want[id]) })
	}
}

// TestRetries answers with failures first, and asks for time.
func TestRetries(t *testing.T) {
	o := newOffice(t)
	flaky := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	const asked = time.Second
	busy := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	gone := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	o.hook("demo", "flaky", flaky, nil)
	o.hook("demo", "busy", busy, nil)
	o.hook("demo", "gone", gone, nil)
	o.start(nil)
	o.raise("demo", 1, time.Now())
	o.await("the third try", func() error {
		if d := o.deliveries("demo", "flaky"); len(d) != 1 || d[0].State != Delivered || d[0].Attempts != 3 || d[0].Tries[0].Status != 500 || d[0].Tries[2].Error != "" {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	all := flaky.got()
	if all[0].id != all[2].id || all[0].id == "" {
		t.Errorf("ids %s, %s", all[0].id, all[2].id)
	}
	o.await("the second try", func() error {
		if n := len(busy.got()); n != 2 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	if all := busy.got(); all[1].at.Sub(all[0].at) < asked {
		t.Errorf("%v after a Retry-After of %v", all[1].at.Sub(all[0].at), asked)
	}
	o.await("disabled", func() error {
		if v, _ := o.webhooks.Get("demo", "gone"); v.Record.Disabled != schema.DisabledGone {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	o.raise("demo", 1, time.Now())
	o.await("the next alert elsewhere", func() error {
		if n := len(flaky.got()); n != 4 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	if n := len(gone.got()); n != 1 {
		t.Errorf("%d messages to an endpoint that is gone", n)
	}
}

// TestBurstMakesADigest raises 1,000 alerts at once.
func TestBurstMakesADigest(t *testing.T) {
	o := newOffice(t)
	e := newEndpoint(t, nil)
	o.hook("demo", "w", e, func(r *schema.WebhookRecord) { r.Burst = 5 })
	o.start(nil)
	ids := o.raise("demo", 1000, time.Now())
	o.await("all alerts", func() error { return e.has(ids) })
	all := e.got()
	if len(all) > 5+3 {
		t.Errorf("%d messages about 1,000 alerts", len(all))
	}
	count := 0
	for _, p := range all {
		if p.Delayed {
			t.Errorf("%s is said to be delayed", p.id)
		}
		if count += p.Data.Count; p.Type == typeAlert {
			count++
		}
	}
	if count != 1000 {
		t.Errorf("the messages count %d alerts", count)
	}
}

// TestOldAlertsSaySo raises alerts while no notifier runs.
func TestOldAlertsSaySo(t *testing.T) {
	o := newOffice(t)
	e := newEndpoint(t, nil)
	o.hook("demo", "w", e, func(r *schema.WebhookRecord) { r.CreatedAt = schema.MillisOf(time.Now().Add(-24 * time.Hour)) })
	before := o.raise("demo", 3, time.Now().Add(-30*time.Hour)) // older than the webhook
	old := o.raise("demo", 50, time.Now().Add(-10*time.Hour))
	stop := o.start(nil)
	o.await("the old alerts", func() error { return e.has(old) })
	for _, p := range e.got() {
		if !p.Delayed {
			t.Errorf("%s does not say that it is delayed", p.id)
		}
	}
	stop()
	fresh := o.raise("demo", 1, time.Now())
	o.start(nil)
	o.await("the next one", func() error { return e.has(append(old, fresh...)) })
	if last := e.got()[len(e.got())-1]; last.Delayed {
		t.Errorf("%+v is said to be delayed", last)
	}
	for _, id := range before {
		if e.alerts()[id] != 0 {
			t.Errorf("%s is older than the webhook", id)
		}
	}
}

// TestNodesShareTheWork has notifiers come and go while alerts of many tenants are raised: each is told once, and also when
// the outbox is written anew all the time.
func TestNodesShareTheWork(t *testing.T) {
	o := newOffice(t)
	endpoints, want := map[schema.Tenant]*endpoint{}, map[schema.Tenant][]string{}
	for i := range 12 {
		tenant := schema.Tenant(fmt.Sprintf("tenant-%d", i))
		endpoints[tenant] = newEndpoint(t, nil)
		o.hook(tenant, "w", endpoints[tenant], func(r *schema.WebhookRecord) { r.Burst = 1000 })
	}
	small := func(cfg *Config) { cfg.CompactAfter = 20 }
	stops := []func(){o.start(small)}
	for round := range 6 {
		for _, tenant := range slices.Sorted(maps.Keys(endpoints)) {
			want[tenant] = append(want[tenant], o.raise(tenant, 5, time.Now())...)
		}
		switch round {
		case 1, 3:
			stops = append(stops, o.start(small))
		case 2, 4:
			stops[0]()
			stops = stops[1:]
		}
	}
	for tenant, e := range endpoints {
		o.await("all alerts of "+string(tenant), func() error { return e.has(want[tenant]) })
	}
	for tenant, e := range endpoints {
		o.await("delivered", func() error {
			for _, d := range o.deliveries(tenant, "w") {
				if d.State != Delivered || d.Attempts != 1 {
					return fmt.Errorf("%+v", d)
				}
			}
			return nil
		})
		if err := e.has(want[tenant]); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
	}
}

// TestSilences hides what it should, and shows it.
func TestSilences(t *testing.T) {
	o := newOffice(t)
	e := newEndpoint(t, nil)
	o.hook("demo", "w", e, nil)
	o.hook("other", "w", e, nil)
	now := time.Now()
	silence := schema.SilenceRecord{Tenant: "demo", ID: "s", Version: 1, Reason: "r", Since: schema.MillisOf(now.Add(-2 * time.Hour)), Until: schema.MillisOf(now.Add(-time.Hour)), Rules: []string{"export"}}
	value, err := json.Marshal(silence)
	if err == nil {
		err = o.silences.Apply(0, schema.RecordKey("demo", "s"), value)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.start(nil)
	within := now.Add(-90 * time.Minute)
	hidden := o.raise("demo", 3, within)
	shown := append(o.raise("other", 1, within), o.raise("demo", 1, now)...)
	o.await("the others", func() error { return e.has(shown) })
	all, err := NewView(o.client).Hidden(t.Context(), "demo")
	if err != nil || all["s"].Count != 3 || !slices.Equal(all["s"].Alerts, hidden) {
		t.Errorf("hidden %+v, %v, want %v", all, err, hidden)
	}
}
