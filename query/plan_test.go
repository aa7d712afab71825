package query

import (
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/auth/authtest"
	"keypulse/internal/httpapi"
)

// plan is how the server would carry out a statement.
func (a *api) plan(sql string, args []any) string {
	a.t.Helper()
	j := a.query.newJob(authtest.Tenant(a.t, "demo"), "plan", a.query.cfg.StatementTimeout)
	defer j.end()
	var text strings.Builder
	err := j.eachWith("plan", "EXPLAIN actions = 1, indexes = 1, projections = 1 "+sql, args, keysSettings(), func(rows driver.Rows) error {
		var line string
		err := rows.Scan(&line)
		text.WriteString(line + "\n")
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return text.String()
}

// TestListsReadInOrder wants every first page, filtered or not, to be read from its end and to stop at the limit.
func TestListsReadInOrder(t *testing.T) {
	a := newAPI(t)
	for range 3 {
		a.exec(example18304)
		a.exec(`INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, severity)
			SELECT 'demo', toDateTime64('2026-04-05 12:34:00', 3, 'UTC') + number, toString(number), 'k', 'r', 2 FROM numbers(20000)`)
	}
	f := func(name string, p *params, sql func(p *params) (string, []any), words ...string) {
		t.Helper()
		text, args := sql(p)
		if p.err() != nil {
			t.Fatal(p.err())
		}
		plan := a.plan(text, args)
		for _, word := range words {
			if !strings.Contains(plan, word) {
				t.Errorf("%s: %q is not in the plan:\n%s", name, word, plan)
			}
		}
	}
	events := func(p *params) (string, []any) {
		w := eventsWhere(authtest.Tenant(a.t, "demo"), p)
		w.bind("rows", 51)
		return selectEvents + w.String() + newestEvents, w.args
	}
	alerts := func(p *params) (string, []any) {
		w := alertsWhere(authtest.Tenant(a.t, "demo"), p, actionsView{})
		w.bind("rows", 51)
		inner := newestAlerts[:strings.Index(newestAlerts, ")")] // the plan of IN's right side is not shown
		return "SELECT raised_at, id FROM alerts WHERE " + w.String() + inner, w.args
	}
	keys := func(p *params) (string, []any) {
		j := a.query.newJob(authtest.Tenant(a.t, "demo"), "plan", a.query.cfg.StatementTimeout)
		defer j.end()
		return j.keysStatement(j.keysAre(keyFilterOf(p), nil), 50)
	}
	with := func(pairs ...string) *params {
		values := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			values[pairs[i]] = pairs[i+1]
		}
		return &params{values: values, bad: []httpapi.FieldError(nil)}
	}
	cursor := place{at: millisBefore(0), id: 100}.cursor(listEvents)
	const backwards = "Read type: InReverseOrder"
	f("newest", with(), events, backwards, "(TestListsReadInOrder")
	f("by severity", with("severity", "critical"), events, backwards)
	f("by key", with("key_id", "key-2"), events, backwards, "ReadFromMergeTree (of_key)")
	f("by key and type", with("key_id", "key-2", "event_type", "x", "since", "2026-04-01T00:00:00Z"), events, backwards, "of_key")
	f("next page", with("cursor", cursor), events, backwards, "created_at in (-Inf")
	f("next page by key", with("cursor", cursor, "key_id", "key-2"), events, backwards, "of_key", "created_at in (-Inf")
	f("alerts", with(), alerts, backwards)
	f("alerts by rule", with("rule", "r", "severity", "critical"), alerts, backwards)
	f("open alerts", with("state", "open"), alerts, backwards)
	f("keys", with(), keys, "Read type: InOrder", "Order: key_id ASC")
}
