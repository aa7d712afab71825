package dedup_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"keypulse/internal/varint"
	"keypulse/processor/dedup"
	"keypulse/schema"
)

func ExampleSeen() {
	seen := dedup.New(dedup.Config{})
	e := schema.Event{Tenant: "demo", KeyID: "key-1", EventID: "order-17", OwnID: true}
	for offset, at := range []schema.Millis{0, 1000, dedup.Window - 1, dedup.Window} {
		first, duplicate := seen.Event(&e, int64(offset), at)
		fmt.Println(duplicate, first.Offset)
	}
	// Output:
	// false 0
	// true 0
	// true 0
	// false 0
}

// oracle remembers everything.
type oracle struct {
	bound int
	first []remembered
}

type remembered struct {
	key    string
	offset int64
	at     schema.Millis
}

func (o *oracle) expire(at schema.Millis) {
	for len(o.first) > 0 && o.first[0].at <= at-dedup.Window {
		o.first = o.first[1:]
	}
}

func (o *oracle) event(key string, offset int64, at schema.Millis) (int64, bool) {
	for _, f := range o.first {
		if f.key == key {
			return f.offset, true
		}
	}
	if len(o.first) == o.bound {
		o.first = o.first[1:]
	}
	o.first = append(o.first, remembered{key, offset, at})
	return 0, false
}

// TestAgainstAnOracle finds the duplicates of random streams, restored from its changes again and again.
func TestAgainstAnOracle(t *testing.T) {
	seeds := uint64(10)
	if os.Getenv("KEYPULSE_SOAK") != "" {
		seeds = 1000
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		bound := 1 + r.IntN(300)
		seen, want := dedup.New(dedup.Config{IDs: bound}), &oracle{bound: bound}
		var changes [][]byte
		begins, pass := true, 0
		at := schema.Millis(0)
		for offset := range int64(4000) {
			at += schema.Millis(r.IntN(2_000_000))
			e := schema.Event{
				Tenant: schema.Tenant(fmt.Sprint("t", r.IntN(2))), KeyID: fmt.Sprint("k", r.IntN(3)),
				EventID: fmt.Sprint(r.IntN(100)), OwnID: r.IntN(10) > 0,
			}
			first, duplicate := seen.Event(&e, offset, at)
			seen.Judged(int(offset%7), int(offset%101))
			want.expire(at)
			if !e.OwnID {
				if duplicate {
					t.Fatalf("seed %d offset %d: the server's own id is a duplicate", seed, offset)
				}
				continue
			}
			wantFirst, wantDuplicate := want.event(fmt.Sprint(e.Tenant, "/", e.KeyID, "/", e.EventID), offset, at)
			if duplicate != wantDuplicate || duplicate && first.Offset != wantFirst {
				t.Fatalf("seed %d offset %d: %v of %d, want %v of %d", seed, offset, duplicate, first.Offset, wantDuplicate, wantFirst)
			}
			if duplicate && (first.Alerts != int(first.Offset%7) || first.Score != int(first.Offset%101)) {
				t.Fatalf("seed %d offset %d: the first's verdict is %+v", seed, offset, first)
			}
			if r.IntN(20) > 0 {
				continue
			}
			b, passed := seen.AppendChanges(nil, begins)
			changes = append(changes, b)
			if begins = passed; passed {
				changes = changes[pass:]
				pass = len(changes)
			}
			if r.IntN(5) == 0 {
				seen = restore(t, bound, changes)
				begins, pass = true, len(changes)
			}
		}
		if seen.Len() != len(want.first) {
			t.Errorf("seed %d: %d ids remembered, want %d", seed, seen.Len(), len(want.first))
		}
	}
}

// TestPassesEndUnderLoad writes more new ids in every cut than a pass writes old ones at least.
func TestPassesEndUnderLoad(t *testing.T) {
	seen := dedup.New(dedup.Config{})
	passes, offset := 0, int64(0)
	for begins := true; offset < 200*1500; {
		for range 1500 {
			e := schema.Event{Tenant: "t", KeyID: "k", EventID: fmt.Sprint(offset), OwnID: true}
			seen.Event(&e, offset, schema.Millis(offset))
			offset++
		}
		if _, begins = seen.AppendChanges(nil, begins); begins {
			passes++
		}
	}
	if passes < 5 {
		t.Errorf("%d passes in 200 cuts", passes)
	}
}

func restore(t *testing.T, bound int, changes [][]byte) *dedup.Seen {
	t.Helper()
	seen := dedup.New(dedup.Config{IDs: bound})
	for _, b := range changes {
		r := varint.NewReader(b)
		if err := seen.Restore(r); err != nil || r.Len() != 0 {
			t.Fatal(err, r.Len())
		}
	}
	seen.Finish()
	return seen
}

func BenchmarkEvent(b *testing.B) {
	seen := dedup.New(dedup.Config{})
	e := schema.Event{Tenant: "demo", KeyID: "signing-key-01", OwnID: true}
	id := make([]byte, 0, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id = fmt.Appendf(id[:0], "order-%d", i%500_000)
		e.EventID = string(id)
		seen.Event(&e, int64(i), schema.Millis(i))
	}
}
