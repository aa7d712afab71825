package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// counted are the members of a rule that say what it has counted.
type counted struct {
	ID         string `json:"id"`
	Hits       *int64 `json:"hits"`
	ShadowHits *int64 `json:"shadow_hits"`
	RuleErrors *int64 `json:"rule_errors"`
	LastError  *struct {
		Message string `json:"message"`
		EventID int64  `json:"event_id"`
		At      string `json:"at"`
	} `json:"last_error"`
}

func (c counted) String() string {
	s := fmt.Sprintf("%s %d %d %d", c.ID, *c.Hits, *c.ShadowHits, *c.RuleErrors)
	if c.LastError != nil {
		s += fmt.Sprintf(" %s, event %d, %s", c.LastError.Message, c.LastError.EventID, c.LastError.At)
	}
	return s
}

// TestRulesShowTheirCounts has lines as sinks write them, of partitions, logs, versions and tenants: repeated, and late.
func TestRulesShowTheirCounts(t *testing.T) {
	a := newRulesAPI(t)
	rule := func(id, more string) string {
		return fmt.Sprintf(`{"id": %q, "name": "R", "when": "actor != \"\"", "severity": "warning"%s}`, id, more)
	}
	for _, id := range []string{"a", "b", "c"} {
		a.want(201, "demo", http.MethodPost, "/api/rules", rule(id, ""))
	}
	a.want(201, "other", http.MethodPost, "/api/rules", rule("a", ""))
	insert := func(values string) {
		t.Helper()
		a.exec(`INSERT INTO rule_counts (tenant, rule_id, rule_version, kafka_partition, log_base, hits, shadow_hits, errors, error_event_id, error_at, error_message, last_id) VALUES ` + values)
	}
	insert(`('demo', 'a', 1, 0, 1, 7, 0, 0, 0, 0, '', 1000), ('demo', 'a', 1, 1, 1, 5, 0, 2, 77, 1775392440.123, 'when: newest', 1000),
		('demo', 'a', 1, 2, 1, 0, 0, 1, 99, 1775392000, 'when: older', 1000), ('demo', 'a', 1, 0, 9000, 100, 0, 0, 0, 0, '', 9000000),
		('demo', 'b', 1, 0, 1, 0, 42, 0, 0, 0, '', 1000), ('other', 'a', 1, 0, 1, 1, 0, 0, 0, 0, '', 1000)`)
	insert(`('demo', 'a', 1, 0, 1, 6, 0, 0, 0, 0, '', 900), ('demo', 'b', 1, 0, 1, 0, 43, 0, 0, 0, '', 2000), ('demo', 'b', 1, 0, 1, 0, 42, 0, 0, 0, '', 1000)`)
	all := func() string {
		t.Helper()
		var list struct{ Rules []counted }
		if err := json.Unmarshal(a.get("demo", "/api/rules"), &list); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, r := range list.Rules {
			lines = append(lines, r.String())
		}
		return strings.Join(lines, "\n")
	}
	const wantA = "a 112 0 3 when: newest, event 77, 2026-04-05T12:34:00.123Z"
	if got, want := all(), wantA+"\nb 0 43 0\nc 0 0 0"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	one := func(body string) string {
		t.Helper()
		var r counted
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		return r.String()
	}
	if got := one(string(a.get("demo", "/api/rules/a"))); got != wantA {
		t.Errorf("got %s, want %s", got, wantA)
	}
	if got := one(string(a.get("other", "/api/rules/a"))); got != "a 1 0 0" {
		t.Errorf("the other tenant's: %s", got)
	}
	if got := one(a.want(200, "demo", http.MethodPut, "/api/rules/a", rule("a", `, "version": 1`))); got != "a 0 0 0" {
		t.Errorf("a new version: %s", got)
	}
	insert(`('demo', 'a', 2, 0, 1, 3, 0, 0, 0, 0, '', 3000)`)
	if got := one(string(a.get("demo", "/api/rules/a"))); got != "a 3 0 0" {
		t.Errorf("a new version: %s", got)
	}
	a.exec("RENAME TABLE rule_counts TO counts_away")
	for _, path := range []string{"/api/rules", "/api/rules/a"} {
		if got := string(a.get("demo", path)); !strings.Contains(got, `"hits":null,"shadow_hits":null,"rule_errors":null,"last_error":null`) {
			t.Errorf("without counts: %s", got)
		}
	}
}
