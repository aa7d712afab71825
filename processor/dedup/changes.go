package dedup

import (
	"cmp"
	"fmt"
	"slices"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// minPass is how many entries a call of AppendChanges writes of those that were written before, at least.
const minPass = 1000

// AppendChanges appends the event_ids that are new since the last call and, in turn, as many of the others. With begins a pass
// over all of them begins with this call; with passed it is complete.
func (s *Seen) AppendChanges(b []byte, begins bool) (out []byte, passed bool) {
	b = varint.AppendUint(b, s.dropped)
	b = varint.AppendInt(b, s.low())
	fresh := 0
	for e := s.fresh; e != nil; e = e.next {
		b = e.append(b)
		fresh++
	}
	if begins && s.newest != nil { // what comes later is written when it comes
		s.pass, s.passEnd = s.oldest, s.newest.Offset
	}
	for n := 0; s.pass != nil && s.pass.Offset <= s.passEnd && n < max(minPass, fresh); n++ {
		b = s.pass.append(b)
		s.pass = s.pass.next
	}
	if passed = s.pass == nil || s.pass.Offset > s.passEnd; passed {
		s.pass = nil
	}
	s.fresh = nil
	return varint.AppendBool(b, false), passed
}

// low is the offset below which everything is forgotten.
func (s *Seen) low() int64 {
	if s.oldest == nil {
		return 1<<63 - 1
	}
	return s.oldest.Offset
}

func (e *entry) append(b []byte) []byte {
	b = varint.AppendBool(b, true)
	b = append(b, e.id[:]...)
	b = varint.AppendInt(b, e.Offset)
	b = varint.AppendInt(b, e.At)
	b = varint.AppendInt(b, e.Alerts)
	return varint.AppendInt(b, e.Score)
}

// Restore takes in what AppendChanges wrote, in the order in which it was written; after the last comes Finish.
func (s *Seen) Restore(r *varint.Reader) error {
	s.dropped, s.restoredLow = r.Uint(), r.Int()
	for r.Bool() {
		e := &entry{}
		copy(e.id[:], r.Take(len(e.id)))
		e.First = First{Offset: r.Int(), At: schema.Millis(r.Int()), Alerts: int(r.Int()), Score: int(r.Int())}
		if r.Err() != nil {
			break
		}
		s.byID[e.id] = e
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("restore event_ids: %w", err)
	}
	return nil
}

// Finish puts what Restore brought into order.
func (s *Seen) Finish() {
	entries := make([]*entry, 0, len(s.byID))
	for _, e := range s.byID {
		if e.Offset >= s.restoredLow {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.Offset, b.Offset) })
	s.oldest, s.newest, s.fresh, s.pass = nil, nil, nil, nil
	clear(s.byID)
	for _, e := range entries {
		e.next = nil
		s.add(e)
	}
	s.fresh = nil
}
