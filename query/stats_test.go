package query

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keypulse/internal/store"
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
	want("when the rollups know less", 3, 1)
	a.insert(row{id: 4})
	a.exec("ALTER TABLE events DROP PARTITION ID '202604'")
	a.clock.Add(1000)
	want("when retention has dropped the events", 3, 1)
}

// TestStatsAreTheSameOnAllNodes asks three nodes, whose clocks are half a second apart, in any order while events come in and the
// engine is killed: no number is ever smaller than one that was answered before the question.
func TestStatsAreTheSameOnAllNodes(t *testing.T) {
	const rounds, askers, kills = 40, 4, 3 // an engine is given up after five quick ends
	eng, stopEngine := startEngine(t, t.TempDir(), "127.0.0.1:0")
	defer stopEngine()
	db := openDB(t, eng.DSN())
	if err := store.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	first := serveAPI(t, db)
	nodes := []*api{first}
	for i := range 2 {
		skew := time.Duration(i+1) * 500 * time.Millisecond
		nodes = append(nodes, serveAPI(t, openDB(t, eng.DSN()), func(cfg *Config) {
			cfg.Now = func() time.Time { return first.now().Add(skew) }
		}))
	}
	stop := make(chan struct{})
	var writing, asking sync.WaitGroup
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			first.clock.Add(300)
			_ = db.Exec(context.Background(), fmt.Sprintf(`INSERT INTO landing (tenant, key_id, id, event_type, severity, created_at, log_time)
				SELECT 'demo', toString(number %% 50), number, 'x', 1 + number %% 3, toDateTime64('2026-04-05 12:00:00', 3, 'UTC') AS at, at FROM numbers(%d, 7)`, 7*n))
			if pid := eng.PID(); n%15 == 14 && n/15 < kills && pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	var seen highest
	for asker := range askers {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(uint64(asker), 0))
			for done := 0; done < rounds; {
				before := seen.now()
				status, body := nodes[random.IntN(len(nodes))].do("", http.MethodGet, "/api/stats", "")
				if status == http.StatusServiceUnavailable { // the engine starts again
					time.Sleep(5 * time.Millisecond)
					continue
				}
				var s stats
				if err := json.Unmarshal(body, &s); status != http.StatusOK || err != nil {
					t.Errorf("got %d %s", status, body)
					return
				}
				done++
				if b, l := s.SeverityBreakdown, before.SeverityBreakdown; s.TotalKeys < before.TotalKeys || b.Nominal < l.Nominal || b.Warning < l.Warning || b.Critical < l.Critical {
					t.Errorf("got %+v after %+v", s, before)
				}
				seen.put(s)
			}
		})
	}
	asking.Wait()
	close(stop)
	writing.Wait()
	if err := eng.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.clock.Add(10_000)
	last := nodes[0].statsNow()
	for _, node := range nodes[1:] {
		if s := node.statsNow(); s != last {
			t.Errorf("got %+v from one node and %+v from another", last, s)
		}
	}
	if last.TotalEvents == 0 || last.TotalEvents < seen.now().TotalEvents {
		t.Errorf("got %+v at the end, after %+v", last, seen.now())
	}
}

// highest is the largest of every number that somebody has been answered.
type highest struct {
	mu sync.Mutex // guards the following
	s  stats
}

func (h *highest) now() stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.s
}

func (h *highest) put(s stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, l := &h.s.SeverityBreakdown, s.SeverityBreakdown
	h.s.TotalKeys, h.s.TotalEvents = max(h.s.TotalKeys, s.TotalKeys), max(h.s.TotalEvents, s.TotalEvents)
	b.Nominal, b.Warning, b.Critical = max(b.Nominal, l.Nominal), max(b.Warning, l.Warning), max(b.Critical, l.Critical)
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

// TestFlightsAreShared wants all who come while a flight is under way to take the next one together.
func TestFlightsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		var flights flights
		var read atomic.Int64
		landing := make(chan struct{})
		for range 32 {
			all.Go(func() {
				_, _ = flights.fly(func() ([]byte, error) {
					if read.Add(1) == 1 {
						<-landing
					}
					return nil, nil
				})
			})
		}
		synctest.Wait()
		close(landing)
		all.Wait()
		if n := read.Load(); n != 2 {
			t.Errorf("got %d flights for 32 requests at once, want 2", n)
		}
	})
}

// TestStatsOfManyAreOneLine wants requests within a second to add one line for all of them.
func TestStatsOfManyAreOneLine(t *testing.T) {
	a := newAPI(t)
	a.insert(row{id: 1})
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { _ = a.get("", "/api/stats") })
	}
	all.Wait()
	var lines uint64
	if err := a.db.QueryRow(t.Context(), "SELECT count() FROM stats").Scan(&lines); err != nil || lines != 1 {
		t.Errorf("got %d lines of statistics within a second, want 1: %v", lines, err)
	}
}

func millisBefore(d time.Duration) schema.Millis { return schema.MillisOf(noon.Add(-d)) }
