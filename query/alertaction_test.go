package query

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/auth/authtest"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine/enginetest"
	"keypulse/schema"
	"keypulse/sink"
)

// actionsLog is a database and a log on which query nodes and a sink work.
type actionsLog struct {
	t      *testing.T
	db     driver.Conn
	client *broker.Client
	log    schema.LogRecord
}

func newActionsLog(t *testing.T) *actionsLog {
	t.Helper()
	l := &actionsLog{t: t, db: openDB(t, enginetest.Migrated(t))}
	l.client, l.log = brokertest.Start(t, 1)
	return l
}

// node serves a query node.
func (l *actionsLog) node() *api {
	l.t.Helper()
	actions := NewActions()
	runs(l.t, func(ctx context.Context) error { return actions.Follow(ctx, l.client, l.db, zap.NewNop()) })
	return serveAPI(l.t, l.db, func(cfg *Config) {
		cfg.Actions = actions
		cfg.AppendAction = func(ctx context.Context, rec schema.AlertActionRecord) (int64, error) {
			value, err := json.Marshal(rec)
			if err != nil {
				return 0, err
			}
			topic := broker.NewAppend(l.client, schema.TopicAlertActions, 0, broker.DefaultProducerConfig())
			return topic.Records(ctx, broker.Record{Key: schema.RecordKey(rec.Tenant, rec.AlertID), Value: value, Time: rec.At})
		}
	})
}

// sink stores actions until stop is called.
func (l *actionsLog) sink() (stop func()) {
	l.t.Helper()
	return runs(l.t, sink.New(sink.Config{
		Client: l.client, Incarnation: l.log, DB: l.db, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	}).Run)
}

// runs calls f until stop is called, or the test ends.
func runs(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// act does something with an alert and wants 200.
func (a *api) act(id string, what schema.AlertAction, body string) string {
	a.t.Helper()
	return a.want(200, "demo", http.MethodPost, "/api/alerts/"+id+"/"+string(what), body)
}

// states are the states of the alerts that a path lists.
func (a *api) states(path string) map[string]string {
	a.t.Helper()
	states := map[string]string{}
	for next := ""; ; {
		page := a.list("demo", path+next)
		for _, alert := range page.Alerts {
			if states[alert.ID] != "" {
				a.t.Errorf("GET %s: %s comes twice", path, alert.ID)
			}
			states[alert.ID] = alert.State
		}
		if !page.HasMore {
			return states
		}
		next = "&cursor=" + *page.NextCursor
	}
}

func TestAlertActionsGolden(t *testing.T) {
	a := newActionsLog(t).node()
	one := raised("demo", "al_one", "my-signing-key-01", "export-burst", schema.Critical, 0)
	a.insertAlerts(one, hit(one, 7, 4902, 2*time.Second), raised("demo", "al_two", "k", "export-burst", schema.Warning, -time.Second))
	a.act("al_one", schema.AlertAck, "")
	a.clock.Add(60_000)
	answer := a.act("al_one", schema.AlertResolve, `{"comment": "a \"planned\" rotation\nby ops ✓"}`)
	golden(t, "alert_resolved.golden.json", []byte(answer))
	golden(t, "alert_resolved.golden.json", a.get("demo", "/api/alerts/al_one"))
	golden(t, "alerts_resolved.golden.json", a.get("demo", "/api/alerts"))
}

func TestAlertActionsChangeTheState(t *testing.T) {
	a := newActionsLog(t).node()
	a.insertAlerts(
		raised("demo", "al_1", "k", "r", schema.Critical, 0), raised("demo", "al_2", "k", "r", schema.Critical, 0),
		raised("other", "al_3", "k", "r", schema.Critical, 0),
	)
	a.insert(row{id: 1, event: schema.Event{KeyID: "k"}})
	f := func(what schema.AlertAction, body, state string, actions, open int) {
		t.Helper()
		var got struct {
			Success bool
			State   string
			By      *string `json:"state_by"`
			Actions []struct{ Action, By string }
		}
		if err := json.Unmarshal([]byte(a.act("al_1", what, body)), &got); err != nil {
			t.Fatal(err)
		}
		if !got.Success || got.State != state || len(got.Actions) != actions || got.By == nil || *got.By != "key-of-demo" {
			t.Errorf("%s: got %+v, want %s after %d actions", what, got, state, actions)
		}
		if l := a.list("demo", "/api/keys"); l.Keys[0].OpenAlerts != open {
			t.Errorf("%s: the key has %d open alerts, want %d", what, l.Keys[0].OpenAlerts, open)
		}
	}
	f(schema.AlertAck, "", "acked", 1, 1)
	f(schema.AlertAck, "{}", "acked", 2, 1)
	f(schema.AlertResolve, `{"comment": null}`, "resolved", 3, 1)
	f(schema.AlertReopen, ` {"comment": ""} `, "open", 4, 2)
	f(schema.AlertResolve, `{"comment": "`+strings.Repeat("ü", maxComment)+`"}`, "resolved", 5, 1)

	const ack = "/api/alerts/al_1/ack"
	for body, words := range map[string]string{
		`{"coment": "x"}`:                  `did you mean \"comment\"?`,
		`{"x": {"y": 1}}`:                  `"field":"x"`,
		`{"comment": 1}`:                   "must be a string",
		`{"comment": ["x"]}`:               "must be a string",
		`{"comment": "x"} {}`:              "unexpected data",
		`["comment"]`:                      "expected a JSON object",
		`{"comment": "x"`:                  "malformed_json",
		"{\"comment\": \"\xff":             "malformed_json",
		`{"comment": "x", "comment": "y"}`: "malformed_json",
		`{"comment": "` + strings.Repeat("x", maxComment+1) + `"}`: "at most 1000 characters",
	} {
		a.refuse("demo", http.MethodPost, ack, body, 400, words)
	}
	a.refuse("demo", http.MethodPost, ack+"?x=1", "", 400)
	a.refuse("demo", http.MethodPost, "/api/alerts/al_3/ack", "", 404)
	a.refuse("demo", http.MethodPost, "/api/alerts/al_4/ack", "", 404)
	a.refuse("demo", http.MethodPost, "/api/alerts/al_1/close", "", 404)
	a.refuse("demo", http.MethodGet, ack, "", 405)
	a.refuse("reader", http.MethodPost, ack, "", 403)
	a.refuse("", http.MethodPost, ack, "", 401)
	f(schema.AlertAck, "", "acked", 6, 1)
	if got := a.states("/api/alerts?"); got["al_2"] != "open" {
		t.Errorf("got %v, want al_2 open", got)
	}
}

// TestAlertActionsElsewhere wants an action to be seen by another node within half a second. Outside a soak the median counts: the
// machine may have other things to do for a moment.
func TestAlertActionsElsewhere(t *testing.T) {
	l := newActionsLog(t)
	here, there := l.node(), l.node()
	here.insertAlerts(raised("demo", "al_1", "k", "r", schema.Critical, 0))
	var took []time.Duration
	for i := range 9 {
		what := []schema.AlertAction{schema.AlertAck, schema.AlertResolve, schema.AlertReopen}[i%3]
		here.act("al_1", what, "")
		begin := time.Now()
		there.eventually("the other node sees it", func() bool {
			return there.states("/api/alerts?")["al_1"] == string(what.State())
		})
		took = append(took, time.Since(begin))
		here, there = there, here
	}
	slices.Sort(took)
	judged := took[len(took)/2]
	if os.Getenv("KEYPULSE_SOAK") != "" {
		judged = took[len(took)-1]
	}
	if judged > 500*time.Millisecond {
		t.Errorf("the other node saw it after %v", took)
	}
}

// TestManyActAtOnce wants the actions of all, and the state that the last one in the log made.
func TestManyActAtOnce(t *testing.T) {
	const people, each = 8, 5
	l := newActionsLog(t)
	nodes := []*api{l.node(), l.node()}
	nodes[0].insertAlerts(raised("demo", "al_1", "k", "r", schema.Critical, 0))
	stop := l.sink()
	var all sync.WaitGroup
	for p := range people {
		all.Go(func() {
			for i := range each {
				what := []schema.AlertAction{schema.AlertAck, schema.AlertResolve, schema.AlertReopen}[(p+i)%3]
				status, body := nodes[p%2].do("demo", http.MethodPost, "/api/alerts/al_1/"+string(what), fmt.Sprintf(`{"comment": "%d.%d"}`, p, i))
				if status != 200 {
					t.Errorf("got %d %s", status, body)
				}
			}
		})
	}
	all.Wait()
	stop()
	for _, a := range nodes {
		var got struct {
			State   string
			Comment string `json:"state_comment"`
			Actions []struct {
				Action  schema.AlertAction
				Comment string
			}
		}
		if err := json.Unmarshal(a.get("demo", "/api/alerts/al_1"), &got); err != nil {
			t.Fatal(err)
		}
		var comments []string
		for _, x := range got.Actions {
			comments = append(comments, x.Comment)
		}
		last := got.Actions[len(got.Actions)-1]
		slices.Sort(comments)
		if len(slices.Compact(comments)) != people*each || got.State != string(last.Action.State()) || got.Comment != last.Comment {
			t.Errorf("got %+v, want %d actions and the state of the last", got, people*each)
		}
	}
}

// TestStatesPageByPage compares the filter by state with what was done, while actions are stored, half stored, and all
// stored; and on a node that starts when they are.
func TestStatesPageByPage(t *testing.T) {
	const alerts, actions = 40, 60
	l := newActionsLog(t)
	a := l.node()
	random := rand.New(rand.NewPCG(4, 4))
	want := map[string]string{}
	for i := range alerts {
		id := fmt.Sprintf("al_%02d", i)
		want[id] = string(schema.AlertOpen)
		a.insertAlerts(raised("demo", id, "k", "r", schema.Critical, time.Duration(i/3)*time.Millisecond))
	}
	act := func() {
		for range actions {
			id := fmt.Sprintf("al_%02d", random.IntN(alerts))
			what := []schema.AlertAction{schema.AlertAck, schema.AlertResolve, schema.AlertReopen}[random.IntN(3)]
			want[id] = string(what.State())
			a.act(id, what, "")
		}
	}
	check := func(a *api, when string) {
		t.Helper()
		for _, state := range alertStates {
			got := a.states("/api/alerts?limit=7&state=" + state)
			for id, is := range want {
				if (got[id] == state) != (is == state) {
					t.Errorf("%s: %s is %s, listed as %q under %s", when, id, is, got[id], state)
				}
			}
		}
	}
	check(a, "before")
	act()
	check(a, "held")
	stop := l.sink()
	a.eventually("actions are stored", func() bool { return a.query.cfg.Actions.holds() == 0 })
	stop()
	act()
	if a.query.cfg.Actions.holds() == 0 {
		t.Error("nothing is held while no sink runs")
	}
	check(a, "half stored")
	l.sink()
	a.eventually("all actions are stored", func() bool { return a.query.cfg.Actions.holds() == 0 })
	check(a, "stored")
	b := l.node()
	check(b, "on a new node")
	if n := b.query.cfg.Actions.holds(); n != 0 {
		t.Errorf("a new node holds %d actions that are stored", n)
	}
}

// TestActionsAreBounded wants a node to refuse actions while the sink is far behind, and to go on when it is not.
func TestActionsAreBounded(t *testing.T) {
	l := newActionsLog(t)
	a := l.node()
	a.query.cfg.Actions.max = 3
	a.insertAlerts(raised("demo", "al_1", "k", "r", schema.Critical, 0))
	for range 3 {
		a.act("al_1", schema.AlertAck, "")
	}
	a.refuse("demo", http.MethodPost, "/api/alerts/al_1/ack", "", 503, codeBehind)
	l.sink()
	a.eventually("there is room", func() bool { return !a.query.cfg.Actions.full() })
	a.act("al_1", schema.AlertResolve, "")
}

// TestActionsNeverGoBack stores actions before this node has read them.
func TestActionsNeverGoBack(t *testing.T) {
	a := noActions()
	f := func(rev int64, held ...int64) {
		t.Helper()
		v, err := a.view(t.Context(), authtest.Tenant(t, "demo"), 0)
		var offsets []int64
		for _, h := range v.held {
			offsets = append(offsets, h.offset)
		}
		if err != nil || v.rev != rev || !slices.Equal(offsets, held) {
			t.Errorf("got revision %d and %v held, %v; want %d and %v", v.rev, offsets, err, rev, held)
		}
	}
	apply := func(offset int64) {
		t.Helper()
		value := `{"tenant":"demo","alert_id":"al_1","action":"ack"}`
		if err := a.apply(offset, schema.RecordKey("demo", "al_1"), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	f(0)
	apply(0)
	apply(1)
	f(2, 0, 1)
	a.stored(1)
	f(2, 1)
	a.stored(4)
	f(4)
	apply(2)
	apply(3)
	f(4)
	apply(4)
	if err := a.apply(5, nil, nil); err == nil {
		t.Error("got no error for a record that is no action")
	}
	f(6, 4)
}

// TestActionsUnknown wants no answer that might be wrong from a node that has not read the actions yet.
func TestActionsUnknown(t *testing.T) {
	a := newAPI(t, func(cfg *Config) {
		cfg.Actions = NewActions()
		cfg.StatementTimeout = 50 * time.Millisecond
		cfg.StreamTimeout = cfg.StatementTimeout
	})
	for _, path := range []string{"/api/alerts", "/api/alerts/al_1", "/api/keys", "/api/keys?limit=1"} {
		a.refuse("demo", http.MethodGet, path, "", 503, `"code":"unavailable"`)
	}
	a.refuse("", http.MethodGet, "/readyz", "", 503, "query")
}

func TestActionLogDown(t *testing.T) {
	a := newAPI(t, func(cfg *Config) {
		cfg.StatementTimeout = 500 * time.Millisecond
		cfg.AppendAction = func(ctx context.Context, _ schema.AlertActionRecord) (int64, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
	})
	a.insertAlerts(raised("demo", "al_1", "k", "r", schema.Critical, 0))
	a.refuse("demo", http.MethodPost, "/api/alerts/al_1/ack", "", 503, codeOutcomeUnknown)
}
