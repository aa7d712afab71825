package window

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"keypulse/schema"
)

// journal keeps what AppendChanges writes, as a checkpoint does: everything since the last complete pass began.
type journal struct {
	changes [][]byte
	pass    int // where in changes the pass under way began
}

func (j *journal) cut(s *Store) {
	b, passed := s.AppendChanges(nil)
	j.changes = append(j.changes, b)
	if passed {
		j.changes = j.changes[j.pass:]
		j.pass = len(j.changes)
	}
}

func (j *journal) restore(t *testing.T, c Config) *Store {
	t.Helper()
	s := New(c)
	for _, b := range j.changes {
		if err := s.ApplyChanges(b); err != nil {
			t.Fatal(err)
		}
	}
	s.FinishChanges()
	return s
}

// TestChangesMakeTheStoreAgain writes changes at random moments of a stream and restores a store from them now and then:
// every value afterwards is that of a store that was never written, to the last bit.
func TestChangesMakeTheStoreAgain(t *testing.T) {
	for seed := range uint64(scaled(6, 300)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkChanges(t, seed) })
	}
}

func checkChanges(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 13))
	list := append(append(shots("10s"), sinceShot()), shots("5m")...)
	set, less := newSet(t, "all", texts(list)...), newSet(t, "all", texts(list)[3:12]...)
	keys := 1 + r.IntN(400)
	bound := Config{KeysPerTenant: 40 + r.IntN(400)}
	tracked := bound
	tracked.TrackChanges = true
	plain, restored := New(bound), New(tracked)
	defer func() {
		plain.Close()
		restored.Close()
	}()
	log := &journal{}
	at := start
	for i := range 8000 {
		at += schema.Millis(r.IntN(40) * r.IntN(2))
		if r.IntN(2000) == 0 {
			at += schema.Millis(r.IntN(6_000_000))
		}
		e := randomEvent(r, fmt.Sprint("key-", r.IntN(keys)), at+schema.Millis(r.IntN(2000)), 3000)
		e.Details = fmt.Appendf(nil, `{"amount":%d.%d}`, r.IntN(1000), r.IntN(100))
		e.Tenant = schema.Tenant([]string{"acme", "other"}[r.IntN(8)/7])
		s := set
		if i/1500%2 == 1 {
			s = less
		}
		wantTime, want := plain.Observe(s, &e)
		gotTime, got := restored.Observe(s, &e)
		if gotTime != wantTime {
			t.Fatalf("event %d: effective time %d, want %d", i, gotTime, wantTime)
		}
		for range 4 {
			n := r.IntN(len(s.Aggregates()))
			if x, y := got.At(n), want.At(n); x != y {
				t.Fatalf("event %d: %s = %s, want %s", i, s.Aggregates()[n].Text, x.AppendJSON(nil), y.AppendJSON(nil))
			}
		}
		if r.IntN(50) == 0 {
			log.cut(restored)
			if r.IntN(10) == 0 {
				restored.Close()
				restored = log.restore(t, tracked)
				log.pass = len(log.changes) // a new owner begins a pass of its own
			}
		}
	}
	if restored.Keys() != plain.Keys() || restored.Evicted() != plain.Evicted() || restored.Bytes() != restored.measured() {
		t.Errorf("%d keys, %d evicted, %d bytes; want %d, %d, %d",
			restored.Keys(), restored.Evicted(), restored.Bytes(), plain.Keys(), plain.Evicted(), restored.measured())
	}
	if len(log.changes) > 200 {
		t.Errorf("%d changes are kept: no pass was completed", len(log.changes))
	}
}

// TestChangesCostWhatChanged holds many keys and touches few: a cut writes few.
func TestChangesCostWhatChanged(t *testing.T) {
	set := newSet(t, "all", `count("1h")`)
	s := New(Config{TrackChanges: true})
	log := &journal{}
	event := func(key int) {
		e := schema.Event{Tenant: "acme", KeyID: fmt.Sprint("key-", key), Type: "export", Severity: schema.Nominal, CreatedAt: start}
		s.Observe(set, &e)
	}
	for i := range 20_000 {
		event(i)
	}
	log.cut(s)
	for range 60 {
		event(7)
		b, _ := s.AppendChanges(nil)
		if len(b) > minPass+1000 {
			t.Fatalf("one touched key made a cut of %d bytes", len(b))
		}
	}
}
