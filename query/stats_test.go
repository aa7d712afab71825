package query

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"keypulse/schema"
)

// example18304 makes the events that the reference's example of the statistics counts.
const example18304 = `INSERT INTO landing (tenant, key_id, id, event_type, severity, created_at, log_time)
SELECT if(number % 2 = 0, 'demo', 'other'), concat('key-', toString(number % 24)), number, 'signing_request',
    multiIf(number < 16022, 'nominal', number < 16022 + 1981, 'warning', 'critical'),
    toDateTime64('2026-04-05 12:34:00', 3, 'UTC') - if(number < 847, toIntervalHour(1), toIntervalHour(25)) AS at, at
FROM numbers(18304)`

func TestStatsGolden(t *testing.T) {
	const example = `{"total_keys": 24, "total_events": 18304, "events_24h": 847, "severity_breakdown": {"nominal": 16022, "warning": 1981, "critical": 301}}`
	a := newAPI(t)
	a.exec(example18304)
	a.insert(row{id: 1 << 30, duplicateOf: 1})
	got := a.get("", "/api/stats")
	golden(t, "stats.golden.json", got)
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(example)); err != nil {
		t.Fatal(err)
	}
	if file, _ := os.ReadFile("testdata/stats.golden.json"); !bytes.Equal(file, want.Bytes()) {
		t.Errorf("the golden file is not the reference's example: %s", file)
	}
	a.refuse("", http.MethodGet, "/api/stats?x=1", "", http.StatusBadRequest)
}

func TestStatsOfNothing(t *testing.T) {
	golden(t, "stats_empty.golden.json", newAPI(t).get("", "/api/stats"))
}

// statsNow reads the statistics.
func (a *api) statsNow() stats {
	a.t.Helper()
	var s stats
	if err := json.Unmarshal(a.get("", "/api/stats"), &s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

func TestStatsAreKeptForASecondAndNeverFall(t *testing.T) {
	a := newAPI(t)
	a.insert(row{id: 1}, row{id: 2})
	want := func(what string, events, keys uint64) {
		t.Helper()
		if s := a.statsNow(); s.TotalEvents != events || s.TotalKeys != keys || s.SeverityBreakdown.Nominal != events {
			t.Errorf("%s: got %+v, want %d events of %d keys", what, s, events, keys)
		}
	}
	want("at first", 2, 1)
	a.insert(row{id: 3})
	a.clock.Add(999)
	want("within the second", 2, 1)
	a.clock.Add(1)
	want("after the second", 3, 1)
	a.exec("TRUNCATE TABLE totals")
	a.exec("TRUNCATE TABLE keys")
	a.clock.Add(1000)
	want("when the server knows less", 3, 1)
}

func TestStatsCountWholeMinutesOfADay(t *testing.T) {
	a := newAPI(t)
	at := func(id int64, before time.Duration) row {
		r := row{id: id}
		r.event.CreatedAt = millisBefore(before)
		return r
	}
	a.insert(at(1, 24*time.Hour-time.Minute), at(2, 24*time.Hour-time.Minute+time.Millisecond), at(3, 24*time.Hour-time.Minute-time.Millisecond), at(4, 0))
	if got := a.statsNow().Events24h; got != 3 {
		t.Errorf("got %d events in 24 hours, want 3: the minute that is 24 hours ago is out", got)
	}
}

func TestStatsOfManyAreOneStatement(t *testing.T) {
	a := newAPI(t)
	a.insert(row{id: 1})
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { _ = a.get("", "/api/stats") })
	}
	all.Wait()
	if n := a.query.statements.Load(); n != 1 {
		t.Errorf("got %d statements for 32 requests at once, want 1", n)
	}
}

func millisBefore(d time.Duration) schema.Millis { return schema.MillisOf(noon.Add(-d)) }
