package query

import (
	"net/http"
	"testing"
	"time"

	"keypulse/internal/answer"
	"keypulse/schema"
)

// raised is the row of an alert itself, as the sink writes it.
func raised(tenant schema.Tenant, id, key, rule string, severity schema.Severity, after time.Duration) alertRow {
	at := schema.MillisOf(noon.Add(after))
	return alertRow{tenant: tenant, alert: alert{Alert: answer.Alert{
		Alert: schema.Alert{
			ID: id, RuleID: rule, RuleVersion: 3, RuleName: "Many exports in a short time", Severity: severity,
			Message: "my key: 4 exports in 10 minutes", EventID: 4821, RaisedAt: at,
			Values: []byte(`{"count(\"10m\", event_type == \"export\")":4}`),
		},
		KeyID: key, Hits: 1, LastEventID: 4821, LastAt: at,
	}}}
}

// hit is a row of later hits: cumulative numbers and empty text.
func hit(of alertRow, hits uint64, lastEventID int64, after time.Duration) alertRow {
	return alertRow{tenant: of.tenant, alert: alert{Alert: answer.Alert{
		Alert: schema.Alert{ID: of.ID, RaisedAt: of.RaisedAt},
		Hits:  hits, LastEventID: lastEventID, LastAt: schema.MillisOf(noon.Add(after)),
	}}}
}

type alertRow struct {
	alert
	tenant schema.Tenant
}

// insertAlerts writes each row as a block of its own, so that nothing is merged before it is read.
func (a *api) insertAlerts(rows ...alertRow) {
	a.t.Helper()
	for _, r := range rows {
		batch, err := a.db.PrepareBatch(a.t.Context(), `INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, rule_version,
			rule_name, severity, message, event_id, values, hits, last_event_id, last_at)`)
		if err != nil {
			a.t.Fatal(err)
		}
		err = batch.Append(string(r.tenant), r.RaisedAt.Time(), r.ID, r.KeyID, r.RuleID, uint32(r.RuleVersion),
			r.RuleName, uint8(r.Severity), r.Message, uint64(r.EventID), string(r.Values), r.Hits, uint64(r.LastEventID), r.LastAt.Time())
		if err == nil {
			err = batch.Send()
		}
		if err != nil {
			a.t.Fatal(err)
		}
	}
}

func TestAlertsGolden(t *testing.T) {
	a := newAPI(t)
	golden(t, "alerts_empty.golden.json", a.get("demo", "/api/alerts"))
	one := raised("demo", "al_one", "my-signing-key-01", "export-burst", schema.Critical, 0)
	two := raised("demo", "al_two", "key \"2\"", "other-rule", schema.Nominal, -time.Second)
	two.Values = nil
	a.insertAlerts(
		hit(one, 7, 4902, 2*time.Second), one, hit(one, 3, 4850, time.Second), one, two,
		raised("other", "al_three", "my-signing-key-01", "export-burst", schema.Critical, 0),
	)
	golden(t, "alerts.golden.json", a.get("demo", "/api/alerts"))
	golden(t, "alert.golden.json", a.get("demo", "/api/alerts/al_one"))
	a.exec("OPTIMIZE TABLE alerts FINAL")
	golden(t, "alerts.golden.json", a.get("demo", "/api/alerts"))
	golden(t, "alert.golden.json", a.get("demo", "/api/alerts/al_one"))
}

func TestAlertsFilters(t *testing.T) {
	a := newAPI(t)
	one := raised("demo", "al_1", "a", "r1", schema.Nominal, time.Millisecond)
	a.insertAlerts(
		one, hit(one, 2, 5000, time.Second),
		raised("demo", "al_2", "b", "r1", schema.Warning, 2*time.Millisecond),
		raised("demo", "al_3", "a", "r2", schema.Critical, 3*time.Millisecond),
		raised("demo", "al_4", "b", "r2", schema.Critical, 3*time.Millisecond),
		hit(raised("demo", "al_lost", "b", "r2", schema.Critical, 4*time.Millisecond), 2, 1, 0),
		raised("other", "al_5", "a", "r1", schema.Nominal, time.Millisecond),
	)
	f := func(query string, want ...string) {
		t.Helper()
		var ids []string
		for _, alert := range a.list("demo", "/api/alerts?"+query).Alerts {
			ids = append(ids, alert.ID)
		}
		equal(t, query, ids, want)
	}
	f("", "al_4", "al_3", "al_2", "al_1")
	f("limit=1", "al_4")
	f("rule=r1", "al_2", "al_1")
	f("key_id=a", "al_3", "al_1")
	f("key_id=a&rule=r1", "al_1")
	f("severity=critical", "al_4", "al_3")
	f("state=open", "al_4", "al_3", "al_2", "al_1")
	f("state=resolved")
	f("since=2026-04-05T12:34:00.002Z&until=2026-04-05T12:34:00.003Z", "al_2")

	for _, query := range []string{"state=closed", "rule=", "rule_id=r1", "limit=0", "severity=3", "cursor=x"} {
		a.refuse("demo", http.MethodGet, "/api/alerts?"+query, "", http.StatusBadRequest)
	}
	a.refuse("demo", http.MethodGet, "/api/alerts/al_5", "", http.StatusNotFound)
	a.refuse("demo", http.MethodGet, "/api/alerts/al_lost", "", http.StatusNotFound)
	a.refuse("demo", http.MethodGet, "/api/alerts/al_1?x=1", "", http.StatusBadRequest)
}
