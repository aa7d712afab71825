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
	alerts := alert.NewTracker()
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
	alerts := alert.NewTracker()
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
	alerts := alert.NewTracker()
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
	alerts := alert.NewTracker()
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

// TestChangesMakeTheTrackerAgain restores a tracker from all changes again and again, and compares what both do next.
func TestChangesMakeTheTrackerAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	alerts, again := alert.NewTracker(), alert.NewTracker()
	var changes [][]byte
	for i := range 5000 {
		o := occurrence(schema.Millis(i*100), time.Duration(random.IntN(3))*10*time.Second)
		o.KeyID, o.RuleID = fmt.Sprint(random.IntN(10)), fmt.Sprint(random.IntN(3))
		hit, raised := alerts.Hit(o)
		if hit2, raised2 := again.Hit(o); hit2 != hit || raised2 != raised {
			t.Fatalf("hit %d: %+v %v, restored %+v %v", i, hit, raised, hit2, raised2)
		}
		if i%7 == 0 {
			alerts.Forget(o.At - 30_000)
			again.Forget(o.At - 30_000)
		}
		if i%50 != 0 {
			continue
		}
		if i%1000 == 0 {
			changes = nil
		}
		changes = append(changes, alerts.AppendChanges(nil, i%1000 == 0))
		again = alert.NewTracker()
		for _, c := range changes {
			if err := again.Restore(varint.NewReader(c)); err != nil {
				t.Fatal(err)
			}
		}
		if again.Len() != alerts.Len() {
			t.Fatalf("restored %d of %d alerts", again.Len(), alerts.Len())
		}
	}
}
