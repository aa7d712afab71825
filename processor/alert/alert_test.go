package alert_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"keypulse/internal/varint"
	"keypulse/processor/alert"
	"keypulse/schema"
)

func occurrence(at schema.Millis, dedup time.Duration) alert.Occurrence {
	return alert.Occurrence{Tenant: "demo", KeyID: "k", RuleID: "r", Version: 1, Dedup: dedup, EventID: int64(at) + 1, At: at}
}

func ExampleTracker() {
	alerts := alert.NewTracker(alert.Config{})
	for _, at := range []schema.Millis{0, 1000, 899_999, 900_000} {
		hit, raised := alerts.Hit(occurrence(at, 15*time.Minute))
		fmt.Println(raised, hit.Hits, hit.RaisedAt.Time().Format("15:04:05"))
	}
	// Output:
	// true 1 00:00:00
	// false 2 00:00:00
	// false 3 00:00:00
	// true 1 00:15:00
}

func TestWithoutDedupEachHitRaises(t *testing.T) {
	alerts := alert.NewTracker(alert.Config{})
	seen := map[string]bool{}
	for at := range schema.Millis(5) {
		hit, raised := alerts.Hit(occurrence(at, 0))
		if !raised || hit.Hits != 1 || seen[hit.AlertID] {
			t.Errorf("at %d: %+v, raised %v", at, hit, raised)
		}
		seen[hit.AlertID] = true
	}
	if alerts.Len() != 0 {
		t.Errorf("%d alerts remembered", alerts.Len())
	}
}

func TestDedupIsAcrossVersionsAndBySubject(t *testing.T) {
	alerts := alert.NewTracker(alert.Config{})
	first := occurrence(0, time.Minute)
	if _, raised := alerts.Hit(first); !raised {
		t.Error("the first hit raised nothing")
	}
	second := occurrence(1000, time.Minute)
	second.Version = 2
	if hit, raised := alerts.Hit(second); raised || hit.Hits != 2 {
		t.Errorf("a hit of another version: %+v, raised %v", hit, raised)
	}
	for _, change := range []func(*alert.Occurrence){
		func(o *alert.Occurrence) { o.KeyID = "other" },
		func(o *alert.Occurrence) { o.RuleID = "other" },
		func(o *alert.Occurrence) { o.Tenant = "other" },
	} {
		o := occurrence(2000, time.Minute)
		change(&o)
		if _, raised := alerts.Hit(o); !raised {
			t.Errorf("%+v raised nothing", o)
		}
	}
}

func TestForgetKeepsWhatMayStillCount(t *testing.T) {
	alerts := alert.NewTracker(alert.Config{})
	alerts.Hit(occurrence(0, time.Minute))
	alerts.Forget(59_999)
	if hit, raised := alerts.Hit(occurrence(59_999, time.Minute)); raised || hit.Hits != 2 {
		t.Errorf("hit after Forget: %+v, raised %v", hit, raised)
	}
	alerts.Forget(60_000)
	if alerts.Len() != 0 {
		t.Errorf("%d alerts remembered after their interval", alerts.Len())
	}
}

func TestTheAlertRaisedFirstGoes(t *testing.T) {
	alerts := alert.NewTracker(alert.Config{Alerts: 2})
	at := schema.Millis(0)
	hit := func(key string) bool {
		o := occurrence(at, time.Hour)
		o.KeyID = key
		at++
		_, raised := alerts.Hit(o)
		return raised
	}
	for i, step := range []struct {
		key     string
		raised  bool
		dropped uint64
	}{
		{"a", true, 0}, {"b", true, 0}, {"a", false, 0}, {"c", true, 1}, // a goes, though it was hit last
		{"b", false, 1}, {"c", false, 1}, {"a", true, 2}, {"c", false, 2}, {"b", true, 3},
	} {
		if raised := hit(step.key); raised != step.raised || alerts.Dropped() != step.dropped || alerts.Len() > 2 {
			t.Errorf("hit %d, of %s: raised %v, %d dropped of %d", i, step.key, raised, alerts.Dropped(), alerts.Len())
		}
	}
	at += schema.Millis(time.Hour / time.Millisecond)
	if !hit("b") || alerts.Dropped() != 3 {
		t.Errorf("the next alert of a rule and key took the place of another: %d dropped", alerts.Dropped())
	}
}

// journal keeps what AppendChanges writes, as a checkpoint does: everything since the last complete pass began.
type journal struct {
	changes [][]byte
	pass    int // where in changes the pass under way began
	begins  bool
}

func (j *journal) cut(alerts *alert.Tracker) (size int) {
	b, passed := alerts.AppendChanges(nil, j.begins)
	j.changes = append(j.changes, b)
	if passed {
		j.changes = j.changes[j.pass:]
		j.pass = len(j.changes)
	}
	j.begins = passed
	return len(b)
}

func (j *journal) restore(t *testing.T, c alert.Config) *alert.Tracker {
	t.Helper()
	alerts := alert.NewTracker(c)
	for _, b := range j.changes {
		if err := alerts.Restore(varint.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	alerts.Finish()
	return alerts
}

// TestChangesMakeTheTrackerAgain restores a tracker from its changes again and again, lets it write the next ones, and
// compares what it does with a tracker that was never written.
func TestChangesMakeTheTrackerAgain(t *testing.T) {
	for name, c := range map[string]struct{ keys, bound, hits, seconds int }{
		"few":     {keys: 10, hits: 5000, seconds: 10},
		"bounded": {keys: 10, bound: 8, hits: 5000, seconds: 10},
		"many":    {keys: 2000, hits: 10_000, seconds: 500},
		"crowded": {keys: 2000, bound: 2500, hits: 10_000, seconds: 500},
	} {
		t.Run(name, func(t *testing.T) { checkChanges(t, alert.Config{Alerts: c.bound}, c.keys, c.hits, c.seconds) })
	}
}

func checkChanges(t *testing.T, c alert.Config, keys, hits, seconds int) {
	random := rand.New(rand.NewPCG(1, 1))
	plain, again := alert.NewTracker(c), alert.NewTracker(c)
	log := &journal{begins: true}
	longest := 0
	for i := range hits {
		o := occurrence(schema.Millis(i*100), time.Duration(random.IntN(3)*seconds)*time.Second)
		o.KeyID, o.RuleID = fmt.Sprint(random.IntN(keys)), fmt.Sprint(random.IntN(3))
		want, wantRaised := plain.Hit(o)
		if hit, raised := again.Hit(o); hit != want || raised != wantRaised {
			t.Fatalf("hit %d: restored %+v %v, want %+v %v", i, hit, raised, want, wantRaised)
		}
		if i%7 == 0 {
			plain.Forget(o.At - 30_000)
			again.Forget(o.At - 30_000)
		}
		if i%50 != 0 {
			continue
		}
		log.cut(again)
		longest = max(longest, len(log.changes))
		restored := log.restore(t, c)
		if restored.Len() != plain.Len() || restored.Dropped() != plain.Dropped() {
			t.Fatalf("restored %d of %d alerts, %d of %d dropped", restored.Len(), plain.Len(), restored.Dropped(), plain.Dropped())
		}
		if i%600 == 0 { // a new owner begins a pass of its own
			again = restored
			log.pass, log.begins = len(log.changes), true
		}
	}
	if c.Alerts > 0 && plain.Dropped() == 0 {
		t.Error("no alert was dropped")
	}
	if longest > 40 {
		t.Errorf("%d changes were kept: no pass was completed", longest)
	}
}

// TestNoCutWritesEverything holds many alerts and raises, between two cuts, more than a pass writes at least: cuts stay small,
// and passes end all the same.
func TestNoCutWritesEverything(t *testing.T) {
	alerts := alert.NewTracker(alert.Config{})
	log := &journal{begins: true}
	number := schema.Millis(0)
	raise := func(n int) {
		for range n {
			o := occurrence(number, 400*24*time.Hour)
			o.KeyID = fmt.Sprint("key-", number)
			alerts.Hit(o)
			number++
		}
	}
	raise(20_000)
	all := log.cut(alerts)
	passes := 0
	for range 60 {
		raise(1500)
		if size := log.cut(alerts); size > all/3 {
			t.Fatalf("a cut has %d bytes, all alerts have %d", size, all)
		}
		if log.begins {
			passes++
		}
	}
	if passes < 2 {
		t.Errorf("%d passes in 60 cuts", passes)
	}
	if restored := log.restore(t, alert.Config{}); restored.Len() != alerts.Len() {
		t.Errorf("restored %d of %d alerts", restored.Len(), alerts.Len())
	}
}
