package judge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"keypulse/processor/alert"
	"keypulse/rules"
	"keypulse/schema"
)

// hitRules are records of the rules topic, one a line: tenant, version and rule.
const hitRules = `
demo 1 {"id":"b-export","name":"Export","when":"event_type == \"export\"","severity":"critical","score":40,"dedup":"10s","message":"{{key_id}}: {{count(\"1m\")}}"}
demo 1 {"id":"c-shadow","name":"Shadow","when":"true","severity":"critical","score":50,"dedup":0,"mode":"shadow"}
demo 1 {"id":"d-off","name":"Off","when":"true","severity":"critical","score":50,"dedup":0,"enabled":false}
demo 1 {"id":"a-two","name":"Two","when":"count(\"1m\") >= 2","severity":"nominal","score":80,"dedup":0}
other 1 {"id":"b-export","name":"Export","when":"event_type == \"export\"","severity":"warning","dedup":"10s"}
demo 2 {"id":"b-export","name":"Export","when":"event_type == \"export\" && severity != \"critical\"","severity":"warning","score":5,"dedup":"20s"}`

func hitBook(t *testing.T) *rules.Book {
	t.Helper()
	book := rules.NewBook()
	for i, line := range strings.Split(strings.TrimSpace(hitRules), "\n") {
		var record schema.RuleRecord
		parts := strings.SplitN(line, " ", 3)
		record.Tenant, record.Rule, record.By = schema.Tenant(parts[0]), []byte(parts[2]), "test"
		if _, err := fmt.Sscan(parts[1], &record.Version); err != nil {
			t.Fatal(err)
		}
		var r rules.Rule
		if err := json.Unmarshal(record.Rule, &r); err != nil {
			t.Fatal(err)
		}
		record.ID = r.ID
		value, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := book.Apply(int64(i), schema.RecordKey(record.Tenant, record.ID), value); err != nil {
			t.Fatal(err)
		}
	}
	return book
}

// TestWhatAHitDoes judges a short log: the order of the rules, scores, alerts and the hits that count on them.
func TestWhatAHitDoes(t *testing.T) {
	const versionTwo = 6 // the revision from which on b-export has two
	j := New(Config{Book: hitBook(t), Base: 3, Partition: 2})
	t.Cleanup(j.Close)
	names := map[string]string{} // rules by their alerts' ids
	for offset, step := range []struct {
		at       int64 // created_at in seconds
		tenant   schema.Tenant
		key      string
		typ      string
		severity schema.Severity
		rev      int64
		score    int
		alerts   string // rule@version raised_at "message" values
		hits     string // rule:hits raised_at at
	}{
		{at: 100, typ: "login", severity: schema.Nominal, score: 0},
		{at: 101, typ: "login", severity: schema.Warning, score: 90, alerts: `a-two@1 101 "Two" {"count(\"1m\")":2}`},
		{at: 200, typ: "login", severity: schema.Critical, score: 30},
		{at: 300, typ: "export", severity: schema.Nominal, score: 40, alerts: `b-export@1 300 "k: 1" {"count(\"1m\")":1}`},
		// Both rules hold, in the order of their ids; the sum ends at 100.
		{at: 301, typ: "export", severity: schema.Critical, score: 100, alerts: `a-two@1 301 "Two" {"count(\"1m\")":2}`, hits: "b-export:2 300 301"},
		{at: 302, typ: "export", key: "l", severity: schema.Nominal, score: 40, alerts: `b-export@1 302 "l: 1" {"count(\"1m\")":1}`},
		{at: 303, typ: "export", tenant: "other", severity: schema.Nominal, score: 0, alerts: `b-export@1 303 "Export" {}`},
		// A clock that lags: the event is at the key's clock.
		{at: 250, typ: "export", severity: schema.Nominal, score: 100, alerts: `a-two@1 301 "Two" {"count(\"1m\")":3}`, hits: "b-export:3 300 301"},
		{at: 310, typ: "export", key: "m", severity: schema.Nominal, score: 40, alerts: `b-export@1 310 "m: 1" {"count(\"1m\")":1}`},
		{at: 310, typ: "export", severity: schema.Nominal, score: 100, alerts: `a-two@1 310 "Two" {"count(\"1m\")":4}; b-export@1 310 "k: 4" {"count(\"1m\")":4}`},
		// Another version, with another dedup, counts on the alert of the one before.
		{at: 325, typ: "export", rev: versionTwo, severity: schema.Nominal, score: 85, alerts: `a-two@1 325 "Two" {"count(\"1m\")":5}`, hits: "b-export:2 310 325"},
		// Revisions never go back.
		{at: 325, typ: "export", severity: schema.Critical, score: 100, alerts: `a-two@1 325 "Two" {"count(\"1m\")":6}`},
		{at: 330, typ: "export", rev: versionTwo, severity: schema.Warning, score: 95, alerts: `a-two@1 330 "Two" {"count(\"1m\")":7}; b-export@2 330 "Export" {}`},
	} {
		e := schema.Event{Tenant: "demo", KeyID: "k", Type: step.typ, Severity: step.severity, CreatedAt: schema.Millis(step.at * 1000), RulesRev: versionTwo - 1}
		if step.tenant != "" {
			e.Tenant = step.tenant
		}
		if step.key != "" {
			e.KeyID = step.key
		}
		e.RulesRev = max(e.RulesRev, step.rev)
		x, exceptional := j.Event(int64(offset), &e)
		var alerts, hits []string
		for _, a := range x.Alerts {
			names[a.ID] = a.RuleID
			alerts = append(alerts, fmt.Sprintf("%s@%d %d %q %s", a.RuleID, a.RuleVersion, a.RaisedAt/1000, a.Message, a.Values))
			id := schema.EventID(3, int64(offset), 2)
			if a.EventID != id || a.ID != alert.ID(e.Tenant, a.RuleID, a.RuleVersion, id) {
				t.Errorf("event %d: alert %s of event %d", offset, a.ID, a.EventID)
			}
		}
		for _, h := range x.Hits {
			hits = append(hits, fmt.Sprintf("%s:%d %d %d", names[h.AlertID], h.Hits, h.RaisedAt/1000, h.At/1000))
		}
		if got := strings.Join(alerts, "; "); got != step.alerts {
			t.Errorf("event %d: alerts %s\nwant %s", offset, got, step.alerts)
		}
		if got := strings.Join(hits, "; "); got != step.hits {
			t.Errorf("event %d: hits %s, want %s", offset, got, step.hits)
		}
		if x.Score != step.score || exceptional != (x.Score != step.severity.BaseScore() || alerts != nil || hits != nil) {
			t.Errorf("event %d: score %d, want %d; an exception: %v", offset, x.Score, step.score, exceptional)
		}
	}
	if c := j.Counts(); c.Events != 13 || c.ShadowHits != 12 || c.Alerts != 13 || c.Hits != 3 || c.RuleErrors != 0 {
		t.Errorf("counts %+v", c)
	}
}
