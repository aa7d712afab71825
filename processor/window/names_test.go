package window

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestNamesAreAMap adds, finds and removes names at random, beside a map.
func TestNamesAreAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var keys slab
	defer keys.close()
	var table names
	defer table.close()
	want := map[string]uint32{}
	for i := range scaled(60_000, 2_000_000) {
		name := fmt.Sprint("key-", r.IntN(200+i/20))
		number, held := want[name]
		if got, ok := table.find(&keys, hashName(name), name); ok != held || ok && got != number {
			t.Fatalf("step %d: %q is %d, %v; want %d, %v", i, name, got, ok, number, held)
		}
		if held && r.IntN(3) > 0 {
			table.remove(&keys, name)
			keys.release(number)
			delete(want, name)
		} else if !held {
			number = keys.take(name)
			table.add(hashName(name), number)
			want[name] = number
		}
	}
	seen := 0
	table.each(func(number uint32) {
		seen++
		if name := keys.name(keys.at(number)); want[name] != number {
			t.Errorf("%q is there as %d", name, number)
		}
	})
	if seen != len(want) || table.n != len(want) {
		t.Errorf("%d names, %d counted, want %d", seen, table.n, len(want))
	}
}
