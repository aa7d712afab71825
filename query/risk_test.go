package query

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"keypulse/schema"
)

// riskScores reads each key's score.
func (a *api) riskScores() map[string]float64 {
	a.t.Helper()
	var l struct {
		Keys []struct {
			KeyID     string   `json:"key_id"`
			RiskScore *float64 `json:"risk_score"`
		}
	}
	if err := json.Unmarshal(a.get("demo", "/api/keys"), &l); err != nil {
		a.t.Fatal(err)
	}
	scores := map[string]float64{}
	for _, k := range l.Keys {
		if k.RiskScore == nil {
			a.t.Fatalf("key %s has no risk_score", k.KeyID)
		}
		scores[k.KeyID] = *k.RiskScore
	}
	return scores
}

// TestRiskScore compares with a sum over all events, each faded by its own age.
func TestRiskScore(t *testing.T) {
	const keys, events = 12, 600
	random := rand.New(rand.NewPCG(9, 9))
	a := newAPI(t)
	var rows []row
	for i := range events {
		r := row{id: int64(i + 1), event: schema.Event{KeyID: fmt.Sprint("key-", i%keys), Severity: schema.Severity(1 + random.IntN(3))}}
		days := random.ExpFloat64() * 4 * float64(i%keys)
		r.event.CreatedAt = schema.MillisOf(noon.Add(-time.Duration(days * 24 * float64(time.Hour))))
		r.score = min(r.event.Severity.BaseScore()+random.IntN(3)*random.IntN(4), schema.MaxScore)
		if random.IntN(10) == 0 {
			r.duplicateOf = 1
		}
		rows = append(rows, r)
	}
	a.insert(rows[:events/2]...)
	a.insert(rows[events/2:]...)
	for _, later := range []time.Duration{0, 24 * time.Hour, 30*time.Hour + time.Millisecond, 90 * 24 * time.Hour} {
		now := noon.Add(later)
		a.clock.Store(now.UnixMilli())
		want := map[string]float64{}
		for _, r := range rows {
			if points := r.score - r.event.Severity.BaseScore(); r.duplicateOf == 0 {
				want[r.event.KeyID] += float64(points) * math.Exp2(-now.Sub(r.event.CreatedAt.Time()).Hours()/24)
			}
		}
		got, above := a.riskScores(), 0
		for key, points := range want {
			if got[key] != riskScore(points) {
				t.Errorf("%v later: %s has %v, want %v", later, key, got[key], points)
			}
			if got[key] > 0 {
				above++
			}
		}
		t.Logf("%v later: %v", later, got)
		if later == 0 && above < keys/2 || later > 1000*time.Hour && above > 0 {
			t.Errorf("%v later: %d keys have a score", later, above)
		}
	}
}

func TestRiskScoreIsBounded(t *testing.T) {
	f := func(points, want float64) {
		t.Helper()
		if got := riskScore(points); got != want {
			t.Errorf("%v points: got %v, want %v", points, got, want)
		}
	}
	f(0, 0)
	f(0.04, 0)
	f(0.05, 0.1)
	f(99.94, 99.9)
	f(99.96, 100)
	f(1e9, 100)
}

// TestActivityLeavesDuplicatesOut wants a duplicate to count nowhere, also where a block of rows holds nothing else.
func TestActivityLeavesDuplicatesOut(t *testing.T) {
	a := newAPI(t)
	at := func(id int64, after time.Duration, duplicateOf int64) row {
		return row{id: id * 1024, duplicateOf: duplicateOf, event: schema.Event{KeyID: "k", CreatedAt: schema.MillisOf(noon.Add(after))}}
	}
	a.insert(at(1, -2*time.Hour, 9))
	a.insert(at(2, 2*time.Hour, 9))
	check := func(when, want string) {
		t.Helper()
		if got := string(a.get("demo", "/api/keys")); got != want {
			t.Errorf("%s: got %s, want %s", when, got, want)
		}
	}
	const none = `{"success":true,"keys":[],"next_cursor":null,"has_more":false}`
	check("duplicates only", none)
	a.exec("OPTIMIZE TABLE keys FINAL")
	check("duplicates only, merged", none)
	a.insert(at(3, -time.Minute, 0), at(4, 0, 0), at(5, time.Hour, 3))
	one := fmt.Sprintf(`{"success":true,"keys":[{"id":%d,"name":"k","key_type":"unknown","status":"active","event_count":2,`+
		`"last_activity":"2026-04-05T12:34:00.000Z","key_id":"k","risk_score":0,"first_activity":"2026-04-05T12:33:00.000Z","open_alerts":0,"tags":[],"rotation_period":null,"version":0}],`+
		`"next_cursor":null,"has_more":false}`, schema.KeyNumber("demo", "k"))
	check("two events", one)
	a.exec("OPTIMIZE TABLE keys FINAL")
	check("merged", one)
}
