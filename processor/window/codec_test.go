package window

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestDamagedChangesAreRefused cuts and flips what AppendChanges wrote: it is refused or read, and never a panic.
func TestDamagedChangesAreRefused(t *testing.T) {
	s := newStream(t, `count("1h")`, `sum("1h", details.v)`, `distinct("1h", details.v)`, `since_last(true)`)
	tracked := Config{TrackChanges: true}
	s.store = New(tracked)
	for i := range 2500 {
		s.event(fmt.Sprint("k", i%100/99), 0, with(fmt.Sprintf(`{"v":%d}`, i)))
	}
	written, _ := s.store.AppendChanges(nil)
	r := rand.New(rand.NewPCG(1, 12))
	for range 3000 {
		short := New(tracked)
		if err := short.ApplyChanges(written[:r.IntN(len(written))]); err == nil {
			t.Fatal("changes that are cut off are accepted")
		}
		short.Close()
		damaged := bytes.Clone(written)
		damaged[r.IntN(min(len(damaged), 200))] ^= byte(1 << r.IntN(8))
		restored := New(tracked)
		if restored.ApplyChanges(damaged) == nil {
			restored.FinishChanges()
			restored.AppendChanges(nil)
		}
		restored.Close()
	}
}
