package query

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/rules"
	"keypulse/schema"
)

// newRulesAPI is newAPI on a rules topic in a broker of its own.
func newRulesAPI(t *testing.T) *api {
	t.Helper()
	client, _ := brokertest.Start(t, 1)
	book := rules.NewBook()
	follower := broker.NewFollower(client, schema.TopicRules, func(r broker.Record) {
		_ = book.Apply(r.Offset, r.Key, r.Value) // a stale record changes nothing
	})
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		if err := follower.Run(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); following.Wait() })
	return newAPI(t, func(cfg *Config) {
		cfg.Book = book
		cfg.AppendRule = func(ctx context.Context, rec schema.RuleRecord) (int64, error) {
			value, err := json.Marshal(rec)
			if err != nil {
				return 0, err
			}
			topic := broker.NewAppend(client, schema.TopicRules, 0, broker.DefaultProducerConfig())
			return topic.Records(ctx, broker.Record{Key: schema.RecordKey(rec.Tenant, rec.ID), Value: value, Time: rec.At})
		}
	})
}

const exportBurst = `{"id": "export-burst", "name": "Many exports in a short time",
	"when": "event_type == \"export\" && count(\"10m\", event_type == \"export\") > 3", "severity": "critical", "score": 40}`

// want sends a request and wants a status; it returns the body.
func (a *api) want(status int, tenant schema.Tenant, method, path, body string) string {
	a.t.Helper()
	got, answer := a.do(tenant, method, path, body)
	if got != status {
		a.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, answer, status)
	}
	return string(answer)
}

func TestRulesGolden(t *testing.T) {
	a := newRulesAPI(t)
	golden(t, "rules_empty.golden.json", a.get("demo", "/api/rules"))
	golden(t, "rule_created.golden.json", []byte(a.want(201, "demo", http.MethodPost, "/api/rules", exportBurst)))
	golden(t, "rule.golden.json", a.get("demo", "/api/rules/export-burst"))
	golden(t, "rules.golden.json", a.get("demo", "/api/rules"))
	golden(t, "rules_empty.golden.json", a.get("other", "/api/rules"))
}

func TestRuleCost(t *testing.T) {
	a := newRulesAPI(t)
	r, err := rules.ParseJSON([]byte(exportBurst))
	if err != nil {
		t.Fatal(err)
	}
	program, err := rules.Compile(r)
	if err != nil {
		t.Fatal(err)
	}
	got := a.want(200, "demo", http.MethodPost, "/api/rules/validate", exportBurst)
	bytes := program.WorstBytes()
	micros := func(d time.Duration) float64 { return math.Round(d.Seconds()*1e7) / 10 }
	want := fmt.Sprintf(`"aggregates":[{"text":"count(\"10m\", event_type == \"export\")","window_seconds":600,"worst_bytes":%d,"worst_micros":%v}],`+
		`"worst_bytes":%d,"worst_micros":%v,"max_micros":2000,"tenant_micros":%v,"tenant_max_micros":20000}`, bytes, micros(program.Aggregates()[0].WorstTime()), bytes, micros(program.WorstTime()), micros(program.WorstTime()))
	if !strings.HasPrefix(got, `{"success":true,"rule":{"id":"export-burst",`) || !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want it to end with %s", got, want)
	}
	golden(t, "rules_empty.golden.json", a.get("demo", "/api/rules"))
}

func TestRuleLife(t *testing.T) {
	a := newRulesAPI(t)
	const path = "/api/rules/r"
	rule := func(members string) string {
		return `{"name": "R", "when": "severity == \"critical\"", "severity": "warning"` + members + `}`
	}
	version := func(body string, want int64) {
		t.Helper()
		var r struct {
			Success      bool           `json:"success"`
			ID           string         `json:"id"`
			Version      int64          `json:"version"`
			By           string         `json:"by"`
			Score        int            `json:"score"`
			CompleteFrom *schema.Millis `json:"complete_from"`
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if !r.Success || r.ID != "r" || r.Version != want || r.By != "key-of-demo" || r.CompleteFrom != nil {
			t.Errorf("got %+v, want version %d", r, want)
		}
	}
	a.refuse("demo", http.MethodGet, path, "", 404)
	a.refuse("demo", http.MethodPut, path, rule(`, "version": 1`), 404)
	a.refuse("demo", http.MethodDelete, path, "", 404)
	version(a.want(201, "demo", http.MethodPost, "/api/rules", rule(`, "id": "r"`)), 1)
	a.refuse("demo", http.MethodPost, "/api/rules", rule(`, "id": "r"`), 409, `"current_version":1`)
	a.want(201, "other", http.MethodPost, "/api/rules", rule(`, "id": "r"`))

	version(a.want(200, "demo", http.MethodPut, path, rule(`, "version": 1, "score": 5`)), 2)
	a.refuse("demo", http.MethodPut, path, rule(`, "version": 1`), 409, `"current_version":2`)
	a.refuse("demo", http.MethodPut, path, rule(`, "version": 3`), 409)
	version(a.want(200, "demo", http.MethodPut, path, rule(`, "id": "r", "version": 2`)), 3)
	for _, bad := range []string{
		rule(``), rule(`, "version": 3, "version": 3`), rule(`, "version": "3"`), rule(`, "version": 0`), rule(`, "version": 3, "id": "s"`),
		rule(`, "version": 3, "scor": 1`), rule(`, "version": 3, "score": 1, "score": 1`), rule(`, "version": 3, "id": "r", "id": "r"`),
		rule(`, "version": 3`) + "x", `[]`, `{`, ``, `{"version": 3}`, `{"version": 3`,
	} {
		a.refuse("demo", http.MethodPut, path, bad, 400)
	}
	version(string(a.get("demo", path)), 3) // which goes on
	if body := a.want(204, "demo", http.MethodDelete, path, ""); body != "" {
		t.Errorf("got %q with 204", body)
	}
	a.refuse("demo", http.MethodGet, path, "", 404)
	a.refuse("demo", http.MethodDelete, path, "", 404)
	version(a.want(201, "demo", http.MethodPost, "/api/rules", rule(`, "id": "r"`)), 5)
	if got := string(a.get("other", path)); !strings.Contains(got, `"version":1,`) {
		t.Errorf("the other tenant's rule: got %s, want version 1", got)
	}
}

func TestRuleErrorsHavePlaces(t *testing.T) {
	a := newRulesAPI(t)
	bad := `{"id": "r", "name": "R", "severity": "warning", "when": "severity == \"critical\" &&\n  event_typ == \"export\""}`
	for _, path := range []string{"/api/rules", "/api/rules/validate"} {
		a.refuse("demo", http.MethodPost, path, bad, 400, `"errors":[{"field":"when","line":2,"column":3,`, `"message":`, `event_type`,
			`"snippet":" |   event_typ == \"export\"\n | ..^"`)
		a.refuse("demo", http.MethodPost, path, `{"id": "r", "name": "R", "severity": "warning", "when": "true", "message": "of {{ actr }}"}`, 400,
			`"errors":[{"field":"message","line":1,"column":7,`, `\"actor\"`, `"snippet":" | of {{ actr }}\n | ......^"`)
		a.refuse("demo", http.MethodPost, path, `{"id": "r", "naem": "R"}`, 400, `"field":"naem"`, `\"name\"`)
		a.refuse("demo", http.MethodPost, path, `{`, 400, "malformed_json")
		a.refuse("demo", http.MethodPost, path+"?x=1", exportBurst, 400, "invalid_parameter")
	}
	req := a.request("demo", http.MethodPost, "/api/rules", exportBurst)
	req.Header.Set("Content-Type", "text/plain")
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: got %d, want 415", resp.StatusCode)
	}
}

func TestRuleLimit(t *testing.T) {
	a := newRulesAPI(t)
	aggregates := func(id string, from, n int) string {
		terms := make([]string, n)
		for i := range terms {
			terms[i] = fmt.Sprintf(`count("%ds") > 1`, from+i)
		}
		rule, err := json.Marshal(map[string]any{"id": id, "name": "R", "severity": "warning", "when": strings.Join(terms, " || ")})
		if err != nil {
			t.Fatal(err)
		}
		return string(rule)
	}
	const each = 100
	for i := range rules.MaxAggregates / each {
		a.want(201, "demo", http.MethodPost, "/api/rules", aggregates(fmt.Sprint("r", i), 1+i*each, each))
	}
	for _, path := range []string{"/api/rules", "/api/rules/validate"} {
		a.refuse("demo", http.MethodPost, path, aggregates("last", 10_000, 1), 400, codeRuleLimit, "aggregates")
	}
	a.want(201, "demo", http.MethodPost, "/api/rules", aggregates("shared", 1, each))
}

// TestRuleWriters lets many replace one rule at the same time: for each version exactly one is told that it made it.
func TestRuleWriters(t *testing.T) {
	const writers, rounds = 8, 5
	a := newRulesAPI(t)
	body := func(version int, score int) string {
		return fmt.Sprintf(`{"name": "R", "when": "true", "severity": "warning", "version": %d, "score": %d}`, version, score)
	}
	a.want(201, "demo", http.MethodPost, "/api/rules", `{"id": "r", "name": "R", "when": "true", "severity": "warning"}`)
	for round := range rounds {
		var mu sync.Mutex
		var won []int
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				status, answer := a.do("demo", http.MethodPut, "/api/rules/r", body(round+1, w))
				mu.Lock()
				defer mu.Unlock()
				switch status {
				case http.StatusOK:
					won = append(won, w)
				case http.StatusConflict:
				default:
					t.Errorf("got %d %s", status, answer)
				}
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: writers %v won, want one", round, won)
		}
		if got := string(a.get("demo", "/api/rules/r")); !strings.Contains(got, fmt.Sprintf(`"score":%d,`, won[0])) {
			t.Fatalf("round %d: got %s, want the score of writer %d", round, got, won[0])
		}
	}
}

// TestRuleLogDown wants 503 and no promise when the log does not answer.
func TestRuleLogDown(t *testing.T) {
	a := newAPI(t, func(cfg *Config) {
		cfg.StatementTimeout = 50 * time.Millisecond
		cfg.AppendRule = func(ctx context.Context, _ schema.RuleRecord) (int64, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
	})
	a.refuse("demo", http.MethodPost, "/api/rules", exportBurst, 503, codeOutcomeUnknown)
}
