package stream

import (
	"math/rand/v2"
	"slices"
	"testing"

	"keypulse/internal/judged"
)

// TestAudience lets subscribers come and go at random, and compares who is asked about a row with a list of who is there.
func TestAudience(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	a := &audience{ofKey: map[string][]*Subscription{}}
	var there []*Subscription
	keys := []string{"", "", "a", "b", "c"}
	for range 3000 {
		if i := r.IntN(40); i < len(there) {
			a.remove(there[i])
			a.remove(there[i]) // a second time changes nothing
			there = slices.Delete(there, i, i+1)
		} else {
			s := &Subscription{filter: Filter{KeyID: keys[r.IntN(len(keys))]}}
			a.remove(s)
			a.add(s)
			there = append(there, s)
		}
		row := &judged.Row{}
		row.KeyID = keys[2+r.IntN(3)]
		asked := map[*Subscription]int{}
		a.each(row, func(s *Subscription) { asked[s]++ })
		all := 0
		a.each(nil, func(*Subscription) { all++ })
		for _, s := range there {
			want := 0
			if s.filter.KeyID == "" || s.filter.KeyID == row.KeyID {
				want = 1
			}
			if asked[s] != want {
				t.Fatalf("one who wants %q is asked %d times about a row of %q", s.filter.KeyID, asked[s], row.KeyID)
			}
			delete(asked, s)
		}
		if len(asked) > 0 || all != len(there) || a.isEmpty() != (len(there) == 0) {
			t.Fatalf("%d who have left are asked; %d of %d are there", len(asked), all, len(there))
		}
	}
}
