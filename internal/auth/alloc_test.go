//go:build !race

package auth

import (
	"crypto/rand"
	"testing"
)

// Under the race detector sync.Pool forgets on purpose.
func TestLookupAllocatesNothing(t *testing.T) {
	tt := newTableTest(t)
	key := NewKey(rand.Reader)
	tt.mustApply(tt.record("ak_1", key, nil))
	if n := testing.AllocsPerRun(100, func() { _, _, _ = tt.table.Lookup(key, noon) }); n != 0 {
		t.Errorf("%v allocations for a look-up", n)
	}
}
