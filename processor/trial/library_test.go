package trial

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"keypulse/rules"
	"keypulse/schema"
)

// library reads all rules of deploy/rules.
func library(t *testing.T) ([]rules.Rule, []Test) {
	t.Helper()
	files, err := filepath.Glob("../../deploy/rules/*.yaml")
	if err != nil || len(files) < 13 {
		t.Fatal(files, err)
	}
	var list []rules.Rule
	var tests []Test
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, of, err := Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		list, tests = append(list, r...), append(tests, of...)
	}
	return list, tests
}

// TestLibraryFits makes sure that a tenant can take all rules of the library and has most of its limits left, and that
// each rule has a test that fires it and one that does not.
func TestLibraryFits(t *testing.T) {
	list, tests := library(t)
	if _, err := bookOf(list); err != nil {
		t.Fatal(err)
	}
	var programs []*rules.Program
	for _, r := range list {
		p, err := rules.Compile(r)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
		fires := func(x Test) bool { return x.Rule == r.ID && x.count+len(x.list) > 0 }
		rests := func(x Test) bool { return x.Rule == r.ID && x.count+len(x.list) == 0 }
		if !slices.ContainsFunc(tests, fires) || !slices.ContainsFunc(tests, rests) {
			t.Errorf("rule %s has no test that fires it, or none that does not", r.ID)
		}
	}
	if n := len(rules.NewSet(programs).Aggregates()); n > rules.MaxAggregates/10 {
		t.Errorf("%d different aggregates", n)
	}
}

// traffic makes the events of a custody provider on quiet days, the same for the same seed.
type traffic struct {
	*rand.Rand
	keys   []custodyKey
	events []schema.Event
}

// custodyKey is a key as quiet traffic uses it.
type custodyKey struct {
	id           string
	byPeople     bool // in office hours of Berlin, with an approval
	weight       float64
	amount       float64 // the median
	actors       []string
	addresses    []string
	destinations int // that it pays again and again; 0: ever new ones
}

func newTraffic(seed uint64) *traffic {
	q := &traffic{Rand: rand.New(rand.NewPCG(seed, 0))}
	for i := range 200 {
		k := custodyKey{id: fmt.Sprintf("key-%03d", i), weight: 1 + 3*q.Float64(), amount: 300, addresses: []string{fmt.Sprintf("198.51.100.%d", i%250)}}
		switch {
		case i < 5: // hot wallets of an exchange: payouts to anybody, from pods
			k.weight, k.actors = 60, []string{"payouts@exchange"}
			k.addresses = nil
		case i < 80: // services, round the clock
			k.actors, k.destinations, k.addresses = []string{fmt.Sprintf("service-%d", i)}, 40, append(k.addresses, fmt.Sprintf("203.0.113.%d", i))
		case i < 190: // people
			k.byPeople, k.destinations, k.amount = true, 12, 4000
			for n := range 2 + q.IntN(3) {
				k.actors = append(k.actors, fmt.Sprintf("person-%d-%d", i, n))
			}
		default: // the treasury
			k.byPeople, k.destinations, k.amount, k.weight = true, 4, 40_000, 0.3
			k.actors = []string{"cfo", "treasurer"}
		}
		q.keys = append(q.keys, k)
	}
	return q
}

// day appends about n events of the day that begins at midnight UTC.
func (q *traffic) day(midnight time.Time, n int) {
	total := 0.0
	for _, k := range q.keys {
		total += k.weight
	}
	var day []schema.Event
	for i := range q.keys {
		k := &q.keys[i]
		if k.byPeople && isWeekend(midnight) {
			continue
		}
		for range int(math.Round(float64(n) * k.weight / total)) {
			day = append(day, q.event(k, midnight))
		}
	}
	day = append(day, q.housekeeping(midnight)...)
	slices.SortStableFunc(day, func(a, b schema.Event) int { return int(a.CreatedAt - b.CreatedAt) })
	q.events = append(q.events, day...)
}

func isWeekend(day time.Time) bool {
	return day.Weekday() == time.Saturday || day.Weekday() == time.Sunday
}

// housekeeping is what else comes on a quiet day.
func (q *traffic) housekeeping(midnight time.Time) []schema.Event {
	var list []schema.Event
	add := func(k *custodyKey, kind string, severity schema.Severity, actor string, at time.Duration, details string) {
		list = append(list, schema.Event{
			KeyID: k.id, Type: kind, Severity: severity, Actor: actor, SourceIP: "10.9.9.9", Details: []byte(details),
			CreatedAt: schema.MillisOf(midnight.Add(at)),
		})
	}
	working := 180
	if isWeekend(midnight) {
		working = 75 // the services
	}
	some := func() *custodyKey { return &q.keys[5+q.IntN(working)] }
	for i := range q.keys {
		add(&q.keys[i], "key_access", schema.Nominal, "audit", 3*time.Hour+time.Duration(i)*time.Second, "")
	}
	for range 6 {
		add(some(), "rotation", schema.Nominal, "rotator", 4*time.Hour, "")
	}
	add(some(), "policy_change", schema.Warning, "officer", 10*time.Hour, `{"change": "limit"}`)
	for range 3 { // a payout run, to known destinations
		k := some()
		for i := range 50 {
			details := fmt.Sprintf(`{"amount_usd": 120, "destination": "%s-%d", "outcome": "approved"}`, k.id, i%max(k.destinations, 1))
			add(k, "signing_request", schema.Nominal, k.actors[0], 11*time.Hour+time.Duration(i)*5*time.Second, details)
		}
	}
	for range 4 { // a client repeats what is denied until somebody mends it
		k := some()
		for i := range 4 {
			add(k, "signing_request", schema.Warning, k.actors[0], 12*time.Hour+time.Duration(i)*time.Second, `{"outcome": "denied"}`)
		}
		add(k, "signing_request", schema.Nominal, k.actors[0], 12*time.Hour+time.Minute, `{"outcome": "approved"}`)
	}
	ceremony := custodyKey{id: "ceremony-" + midnight.Format("0102")}
	for i := range 3 { // a new key and its three shares
		add(&ceremony, "export", schema.Critical, "officer", 9*time.Hour+time.Duration(i)*time.Minute, "")
	}
	add(some(), "key_access", schema.Nominal, "new colleague", 13*time.Hour, "")
	return list
}

func (q *traffic) event(k *custodyKey, midnight time.Time) schema.Event {
	e := schema.Event{
		KeyID: k.id, Type: "signing_request", Severity: schema.Nominal, CreatedAt: q.timeOf(k, midnight),
		Actor: k.actors[q.IntN(len(k.actors))], SourceIP: fmt.Sprintf("10.1.%d.%d", q.IntN(4), q.IntN(250)),
	}
	if len(k.addresses) > 0 {
		e.SourceIP = k.addresses[q.IntN(len(k.addresses))]
	}
	if q.IntN(4) == 0 {
		e.Type = "key_access"
		return e
	}
	outcome, destination := "approved", q.IntN(1_000_000)
	if q.IntN(30) == 0 {
		outcome, e.Severity = "denied", schema.Warning
	}
	if k.destinations > 0 {
		destination = q.IntN(k.destinations)
	}
	amount := min(k.amount*math.Exp(1.1*q.NormFloat64()), 900_000)
	switch q.IntN(10) {
	case 0: // a message, not a payment
		e.Details = fmt.Appendf(nil, `{"outcome": %q}`, outcome)
	default:
		e.Details = fmt.Appendf(nil, `{"amount_usd": %.2f, "destination": "%s-%d", "outcome": %q}`, amount, k.id, destination, outcome)
	}
	return e
}

// timeOf is when the key is used: at any time, or from 8 to 18 in Berlin.
func (q *traffic) timeOf(k *custodyKey, midnight time.Time) schema.Millis {
	at := time.Duration(q.Float64() * float64(24*time.Hour))
	if k.byPeople {
		at = 7*time.Hour + at*10/24
	}
	return schema.MillisOf(midnight.Add(at))
}

// daysBefore is how many quiet days pass before the one that is looked at.
func daysBefore() int {
	if os.Getenv("KEYPULSE_SOAK") != "" {
		return 9
	}
	return 1
}

// TestQuietDay runs the whole library over a quiet day, after others, and then over a theft.
func TestQuietDay(t *testing.T) {
	list, _ := library(t)
	q := newTraffic(1)
	monday := time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)
	for i := range daysBefore() {
		q.day(monday.AddDate(0, 0, i), 50_000)
	}
	last := monday.AddDate(0, 0, daysBefore())
	q.day(last, 50_000)
	end := schema.MillisOf(last.Add(25 * time.Hour))
	for i := range 100 { // somebody has got hold of a person's key, at night
		q.events = append(q.events, schema.Event{
			KeyID: "key-100", Type: "signing_request", Severity: schema.Nominal, SourceIP: "192.0.2.66", Actor: "person-100-0",
			Details:   fmt.Appendf(nil, `{"amount_usd": 9500, "destination": "thief-%d", "outcome": "approved"}`, i),
			CreatedAt: end + schema.Millis(i)*1000,
		})
	}
	alerts, err := Run(list, q.events)
	if err != nil {
		t.Fatal(err)
	}
	raised, theft := 0, map[string]bool{}
	for _, a := range alerts {
		switch {
		case a.At >= end:
			theft[a.RuleID] = true
		case a.At >= schema.MillisOf(last):
			raised++
			t.Logf("%s %s: %s", a.At, a.RuleID, a.Message)
		}
	}
	if raised >= 5 {
		t.Errorf("the quiet day raised %d alerts", raised)
	}
	for _, id := range []string{"signing-velocity", "drain-to-new-destinations", "new-source-ip", "off-hours-signing", "structuring"} {
		if !theft[id] {
			t.Errorf("the theft did not raise %s", id)
		}
	}
}
