package alert_test

import (
	"fmt"
	"testing"
	"time"

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
