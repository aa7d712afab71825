package window

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

const start = schema.Millis(1_700_000_000_000)

// stream feeds events of one key to a store.
type stream struct {
	t     testing.TB
	store *Store
	set   *rules.Set
	last  rules.Values
}

func newStream(t testing.TB, aggregates ...string) *stream {
	return &stream{t: t, store: New(Config{}), set: newSet(t, "r", aggregates...)}
}

func (s *stream) event(key string, at time.Duration, change ...func(*schema.Event)) {
	e := &schema.Event{Tenant: "acme", KeyID: key, Type: "export", Severity: schema.Nominal, CreatedAt: start + millis(at)}
	for _, f := range change {
		f(e)
	}
	_, s.last = s.store.Observe(s.set, e)
}

func by(actor string) func(*schema.Event) { return func(e *schema.Event) { e.Actor = actor } }

func typed(name string) func(*schema.Event) { return func(e *schema.Event) { e.Type = name } }

func with(details string) func(*schema.Event) {
	return func(e *schema.Event) { e.Details = []byte(details) }
}

// want compares the value of aggregate i as JSON.
func (s *stream) want(i int, json string) {
	s.t.Helper()
	if got := string(s.last.At(i).AppendJSON(nil)); got != json {
		s.t.Errorf("%s = %s, want %s", s.set.Aggregates()[i].Text, got, json)
	}
}

func TestWindowEdgesToTheMillisecond(t *testing.T) {
	s := newStream(t, `count("10s")`)
	s.event("k", 0)
	s.want(0, "1")
	s.event("k", 9999*time.Millisecond)
	s.want(0, "2")
	s.event("k", 10*time.Second) // (0s, 10s] no longer has the first
	s.want(0, "2")
	s.event("k", 19999*time.Millisecond)
	s.want(0, "2")
	s.event("other", 20*time.Second)
	s.want(0, "1")
}

func TestClockNeverGoesBack(t *testing.T) {
	s := newStream(t, `count("10s")`, `since_last(true)`)
	s.event("k", 60*time.Second)
	s.want(1, "null")
	s.event("k", 0) // counts at 60s, where the key's clock is
	s.want(0, "2")
	s.want(1, "0")
	s.event("k", 69*time.Second)
	s.want(0, "3")
	s.want(1, "9")
	s.event("k", 70*time.Second)
	s.want(0, "2")
}

func TestFirstSeen(t *testing.T) {
	s := newStream(t, `first_seen("1m", source_ip)`, `first_seen("1m", actor, event_type == "login")`)
	s.event("k", 0)
	s.want(0, "false") // no value
	ip := func(e *schema.Event) { e.SourceIP = "10.0.0.1" }
	s.event("k", time.Second, ip, by("bob"))
	s.want(0, "true")
	s.want(1, "true")
	s.event("k", 2*time.Second, ip, by("bob"))
	s.want(0, "false")
	s.want(1, "true") // no login yet: only matching events are remembered
	s.event("k", 3*time.Second, by("bob"), typed("login"))
	s.want(1, "true")
	s.event("k", 4*time.Second, by("bob"))
	s.want(1, "false")
	s.event("k", 62*time.Second, ip)
	s.want(0, "true")
}

func TestDistinctKnowsNumbers(t *testing.T) {
	s := newStream(t, `distinct("1m", details.v)`, `distinct("1m", actor)`)
	for i, details := range []string{`{"v":1}`, `{"v":1.0}`, `{"v":1e0}`, `{"v":"1"}`, `{"v":true}`, `{"v":null}`, `{}`, `{"v":[1, 2]}`, `{"v":[1.0,2]}`, `{"v":{"a":1,"b":2}}`, `{"v":{"b":2,"a":1}}`} {
		s.event("k", time.Duration(i)*time.Second, with(details))
	}
	s.want(0, "5")
	s.want(1, "0")
}

func TestSinceLastReaches400Days(t *testing.T) {
	s := newStream(t, `since_last(event_type == "signing_request")`, `count("1h")`)
	s.event("k", 0, typed("signing_request"))
	s.want(0, "null")
	s.event("k", time.Second)
	s.want(0, "1")
	s.event("k", 1500*time.Millisecond, typed("signing_request"))
	s.want(0, "1.5")
	const day = 24 * time.Hour
	for d := range 399 { // other keys move the partition's clock
		s.event("other", time.Duration(d)*day)
	}
	if s.store.Keys() != 2 {
		t.Errorf("%d keys", s.store.Keys())
	}
	s.event("k", 400*day+1499*time.Millisecond, typed("login"))
	s.want(0, "34559999.999")
	s.want(1, "1")
	s.event("k", 400*day+1500*time.Millisecond, typed("login"))
	s.want(0, "null")
}

// TestTheNewestKeyWakesAfterRest touches a tenant's newest key when all its keys are at rest, and leaves the tenant alone for
// 500 days: nothing of it stays, and a restored store goes the same way.
func TestTheNewestKeyWakesAfterRest(t *testing.T) {
	const day = 24 * time.Hour
	for _, keys := range [][]string{{"a"}, {"a", "b"}} {
		s := newStream(t, `since_last(event_type == "export")`, `count("1h")`)
		s.store = New(Config{TrackChanges: true})
		log := &journal{}
		both := func(at time.Duration) {
			for i := range 6 {
				s.event("clock", at+time.Duration(i)*time.Second, of("other"))
			}
			log.cut(s.store)
		}
		for _, key := range keys {
			s.event(key, 0)
		}
		both(2 * day)
		s.event(keys[len(keys)-1], 2*day)
		both(4 * day)
		again := &stream{t: t, store: log.restore(t, Config{TrackChanges: true}), set: s.set}
		for _, at := range []time.Duration{405 * day, 500 * day} {
			both(at)
			for i := range 6 {
				again.event("clock", at+time.Duration(i)*time.Second, of("other"))
			}
			if s.store.Keys() != again.store.Keys() || s.store.Bytes() != again.store.Bytes() {
				t.Errorf("%q at %s: %d keys of %d bytes, restored %d of %d",
					keys, at, s.store.Keys(), s.store.Bytes(), again.store.Keys(), again.store.Bytes())
			}
		}
		if s.store.Keys() != 1 {
			t.Errorf("%q: %d keys after 500 days", keys, s.store.Keys())
		}
	}
}

func of(tenant schema.Tenant) func(*schema.Event) { return func(e *schema.Event) { e.Tenant = tenant } }

func TestIdleKeysAreFreed(t *testing.T) {
	s := newStream(t, `count("10m")`, `distinct("1m", actor)`)
	for i := range 1000 {
		s.event(fmt.Sprint("key-", i), time.Duration(i)*time.Millisecond, by("bob"))
	}
	if s.store.Keys() != 1000 {
		t.Fatalf("%d keys", s.store.Keys())
	}
	grown := s.store.Bytes()
	s.event("later", 70*time.Minute)
	for i := range 1100 {
		s.event("later", 70*time.Minute+time.Second+time.Duration(i)*time.Millisecond)
	}
	if s.store.Keys() != 1 || s.store.Evicted() != 0 {
		t.Errorf("%d keys, %d evicted", s.store.Keys(), s.store.Evicted())
	}
	if left := s.store.Bytes(); left >= grown/10 || left != s.store.measured() {
		t.Errorf("%d bytes of %d are left, %d measured", left, grown, s.store.measured())
	}
}

// bytes is what the key costs.
func (k *key) bytes(r *rooms) int {
	sum := k.fixedBytes()
	if k.room > 0 {
		_, size := class(int(k.room))
		sum += size * seriesBytes
	}
	list := k.series(r)
	for i := range list {
		sum += list[i].bytes(r)
	}
	return sum
}

// bytes is the memory behind the series.
func (s *series) bytes(r *rooms) (sum int) {
	if n := s.room(); n > 0 {
		_, size := class(n)
		sum += size * wordBytes
	}
	if s.nviews > 0 {
		_, size := class(int(s.nviews))
		sum += size * viewBytes
	}
	views := r.views.at(s.views, int(s.nviews))
	for i := range views {
		if m := views[i].merged; m != 0 {
			sum += r.merged[m].bytes()
		}
	}
	return sum
}

// measured counts the bytes of all keys anew.
func (s *Store) measured() int {
	sum := 0
	for _, t := range s.order {
		t.keys.each(func(number uint32) { sum += s.keys.at(number).bytes(&s.rooms) })
	}
	return sum
}

func TestLeastRecentlyUsedKeyGoes(t *testing.T) {
	s := newStream(t, `count("1h")`)
	s.store = New(Config{KeysPerTenant: 3})
	for i, key := range []string{"a", "b", "c", "a", "d"} { // b goes
		s.event(key, time.Duration(i)*time.Second)
	}
	if s.store.Keys() != 3 || s.store.Evicted() != 1 {
		t.Errorf("%d keys, %d evicted", s.store.Keys(), s.store.Evicted())
	}
	s.event("a", 6*time.Second)
	s.want(0, "3")
	s.event("b", 7*time.Second) // c goes
	s.want(0, "1")
	s.event("c", 8*time.Second) // d goes
	s.want(0, "1")
	s.event("other", 9*time.Second, func(e *schema.Event) { e.Tenant = "other" })
	if s.store.Keys() != 4 || s.store.Evicted() != 3 {
		t.Errorf("%d keys, %d evicted: another tenant has its own bound", s.store.Keys(), s.store.Evicted())
	}
	if s.store.Bytes() != s.store.measured() {
		t.Errorf("%d bytes, %d measured", s.store.Bytes(), s.store.measured())
	}
}

func TestTenantsAreApart(t *testing.T) {
	s := newStream(t, `count("1h")`)
	s.event("k", 0)
	s.event("k", time.Second, func(e *schema.Event) { e.Tenant = "other" })
	s.want(0, "1")
	s.event("k", 2*time.Second)
	s.want(0, "2")
}

func TestStateSurvivesAChangeOfTheSet(t *testing.T) {
	s := newStream(t, `count("1h")`, `count("2h", event_type == "export")`)
	s.event("k", 0)
	s.event("k", time.Second)
	s.set = newSet(t, "next", `sum("1h", details.n)`, `count("2h", event_type == 'export')`)
	s.event("k", 2*time.Second, with(`{"n": 5}`))
	s.want(0, "5")
	s.want(1, "3")
	s.set = newSet(t, "again", `count("1h")`, `sum("60m", details["n"])`)
	s.event("k", 3*time.Second)
	s.want(0, "1") // it was dropped in between
	s.want(1, "5")
	if s.store.Bytes() != s.store.measured() {
		t.Errorf("%d bytes, %d measured", s.store.Bytes(), s.store.measured())
	}
}

// TestReadingChangesNothing reads everything in one store and nothing in another; at the end both say the same.
func TestReadingChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	list := texts(append(shots("10s"), sinceShot()))
	set := newSet(t, "all", list...)
	read, quiet := New(Config{}), New(Config{})
	at := start
	for i := range 30_000 {
		at += schema.Millis(r.IntN(4))
		e := randomEvent(r, "k", at, 5000)
		_, a := read.Observe(set, &e)
		for n := range list {
			a.At(n)
		}
		_, b := quiet.Observe(set, &e)
		if i%5000 == 4999 {
			for n := range list {
				if x, y := string(a.At(n).AppendJSON(nil)), string(b.At(n).AppendJSON(nil)); x != y {
					t.Errorf("%s = %s and %s", list[n], x, y)
				}
			}
		}
	}
}

// TestCrowdedWindows has far more events in the windows than are exact: the trailing edge may be off by a 256th of
// the window, and it is exact again as soon as few enough are left.
func TestCrowdedWindows(t *testing.T) {
	for _, w := range []time.Duration{time.Second, 10 * time.Second, time.Hour} {
		t.Run(w.String(), func(t *testing.T) { checkCrowded(t, w, scaled(40_000, 1_000_000)) })
	}
}

func checkCrowded(t *testing.T, w time.Duration, events int) {
	r := rand.New(rand.NewPCG(9, uint64(w)))
	list := shots(w.String())[:9]
	set, store, o := newSet(t, "all", texts(list)...), New(Config{}), &oracle{}
	at, crowded := start, 0
	for i := range events {
		// Bursts and calm take turns.
		if step := int(w/time.Millisecond) / 4000; i/10_000%2 == 0 {
			at += schema.Millis(r.IntN(step + 2))
		} else {
			at += schema.Millis(r.IntN(12*step + 24))
		}
		e := randomEvent(r, "k", at, 20)
		o.observe(e)
		_, values := store.Observe(set, &e)
		if i%500 != 0 {
			continue
		}
		o.events = o.window(shot{where: any1}, 2*millis(w), true)
		for n, s := range list {
			if o.crowded(s) {
				crowded++
				checkBetween(t, o, s, values.At(n))
			} else if want := o.answer(s); !agrees(values.At(n), want) {
				t.Fatalf("event %d: %s = %s, want %v", i, s.text, values.At(n).AppendJSON(nil), want)
			}
		}
		if k := store.keys.at(0); k.bytes(&store.rooms) > len(list)*rules.MaxAggregateBytes {
			t.Fatalf("%d bytes", k.bytes(&store.rooms))
		}
	}
	if crowded == 0 {
		t.Error("no window was crowded")
	}
}

// checkBetween accepts a value between that of the window and that of the window and a 256th.
func checkBetween(t *testing.T, o *oracle, s shot, got rules.Value) {
	t.Helper()
	longer := s
	longer.w = s.w + s.w/sliceParts
	exact, _ := o.answer(s).(float64)
	late, _ := o.answer(longer).(float64)
	if s.call == rules.Rate {
		late *= float64(longer.w) / float64(s.w)
	}
	x, ok := got.Number()
	low, high := min(exact, late), max(exact, late)
	slack := 1e-9 * max(1, math.Abs(exact))
	if s.call == rules.Avg || s.call == rules.Stddev {
		slack = 0.02 * math.Abs(exact) // the merged slice may hold any part of the difference
	}
	if !ok || x < low-slack || x > high+slack {
		t.Fatalf("%s = %v, want %v to %v", s.text, x, low, high)
	}
}

// TestDistinctSketch measures the sketch against the truth, while the window moves on and after a burst.
func TestDistinctSketch(t *testing.T) {
	var squares, worst, n float64
	for seed := range uint64(scaled(8, 200)) {
		r := rand.New(rand.NewPCG(seed, 10))
		set, store := newSet(t, "d", `distinct("1h", actor)`), New(Config{})
		t.Cleanup(store.Close)
		last := map[string]schema.Millis{}
		at, pool := start, []int{1500, 5000, 50_000, 1_000_000}[seed%4]
		for i := range 40_000 {
			at += schema.Millis(r.IntN(400))
			if i > 25_000 {
				at += schema.Millis(r.IntN(4000)) // the calm after the burst
			}
			e := schema.Event{Tenant: "acme", KeyID: "k", Type: "t", Severity: 1, CreatedAt: at, Actor: fmt.Sprint(r.IntN(pool))}
			last[e.Actor] = at
			_, values := store.Observe(set, &e)
			if i%1000 != 999 {
				continue
			}
			exact, low, high := 0, 0, 0
			const edge = 3_600_000 / sliceParts
			for _, seen := range last {
				if seen > at-3_600_000 {
					exact++
				}
				if seen > at-3_600_000+edge {
					low++
				}
				if seen > at-3_600_000-edge {
					high++
				}
			}
			got, _ := values.At(0).Number()
			if exact <= maxExact {
				if got != float64(exact) {
					t.Fatalf("seed %d, event %d: %v of %d", seed, i, got, exact)
				}
				continue
			}
			off := 0.0
			if got < float64(low) {
				off = (float64(low) - got) / float64(low)
			} else if got > float64(high) {
				off = (got - float64(high)) / float64(high)
			}
			squares += off * off
			worst = max(worst, off)
			n++
		}
		if k := store.keys.at(0); k.bytes(&store.rooms) > rules.MaxAggregateBytes+perKey+seriesBytes {
			t.Fatalf("%d bytes", k.bytes(&store.rooms))
		}
	}
	if e := math.Sqrt(squares / n); e > 0.017 || worst > 0.07 {
		t.Errorf("standard error %.4f, worst %.4f", e, worst)
	}
}

// TestSketchAlone measures the estimate without a window's edge.
func TestSketchAlone(t *testing.T) {
	for _, n := range []int{1001, 2000, 5000, 20_000, 100_000, 1_000_000} {
		var squares float64
		const rounds = 30
		for round := range rounds {
			k := newSketch(3_600_000)
			for i := range n {
				k.add(rules.Int(int64(round*n+i)).Hash(), start)
			}
			off := float64(k.estimate(start))/float64(n) - 1
			squares += off * off
		}
		if e := math.Sqrt(squares / rounds); e > 0.017*1.35 { // thirty rounds know the error to some 13 %
			t.Errorf("%d values: standard error %.4f", n, e)
		}
	}
}

// TestMemoryBound fills each kind of aggregate with more than it holds.
func TestMemoryBound(t *testing.T) {
	list := []string{`count("1h")`, `stddev("1h", details.v)`, `distinct("1h", details.v)`, `first_seen("1h", [details.v])`, `since_last(true)`}
	s := newStream(t, list...)
	for i := range 100_000 {
		s.event("k", time.Duration(i)*90*time.Millisecond, with(fmt.Sprintf(`{"v":%d}`, i)))
		if i%97 == 0 {
			s.last.At(1)
		}
	}
	k := s.store.keys.at(0)
	all := k.series(&s.store.rooms)
	for i := range all {
		got, bound := all[i].bytes(&s.store.rooms)+seriesBytes, s.set.Aggregates()[i].WorstBytes()
		if got > bound || got > rules.MaxAggregateBytes {
			t.Errorf("%s takes %d bytes, at most %d", list[i], got, bound)
		}
		t.Logf("%s: %d bytes", list[i], got)
	}
	if size := unsafe.Sizeof(key{}); size > 64 {
		t.Errorf("a key has %d bytes", size)
	}
}
