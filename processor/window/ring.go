package window

import (
	"math"

	"keypulse/rules"
	"keypulse/schema"
)

// Times and numbers are kept in a ring, whose size is a power of two.

const (
	// viewedSize is from how many entries on a series has views. A smaller one is looked through.
	viewedSize = 16
	firstRing  = 2
	maxRing    = 1024
	// fallOff is how many entries leave a full ring at once, so that their memory is touched once for all of them.
	fallOff = maxRing - maxExact
)

// push appends an entry at the time now and returns it.
func (s *opened) push(now schema.Millis) []uint32 {
	if s.n > 0 && s.reach(now, s.plan.longest) == 0 {
		s.clear()
	}
	if s.n == s.size {
		s.makeRoom(now)
	}
	s.newest = now
	s.n++
	entry := s.at(int(s.n) - 1)
	entry[0] = uint32(now)
	return entry
}

// makeRoom makes room for an entry at the time now: what has left all windows is dropped; if that is not much the ring grows, or,
// when it may not, the oldest entries are merged.
func (s *opened) makeRoom(now schema.Millis) {
	gone, reach := 0, s.reach(now, s.plan.longest)
	for gone < int(s.n) && s.age(s.at(gone)[0]) >= reach {
		gone++
	}
	s.advanceAll(now)
	s.drop(gone)
	switch n, size := int(s.n), int(s.size); {
	case n == maxRing:
		s.mergeOldest(now)
	case 4*n >= 3*size && size < maxRing:
		s.grow(max(firstRing, 2*size))
	case 8*n < size && size > viewedSize:
		s.grow(size / 2)
	}
	if s.size >= viewedSize && s.nviews == 0 {
		s.makeViews(now)
	}
}

// grow moves the entries to a ring of another size.
func (s *opened) grow(size int) {
	older, newer := s.runs(0)
	block, room := s.block, len(s.entries)
	s.newRoom(size, false)
	copy(s.entries[copy(s.entries, older):], newer)
	s.giveRoom(block, room)
}

// runs are the entries from one on, in one or two pieces of a ring.
func (s *opened) runs(from int) (older, newer []uint32) {
	words := s.words()
	begin, end := (int(s.first)+from)*words, (int(s.first)+int(s.n))*words
	size := int(s.size) * words
	switch {
	case end <= size:
		return s.entries[begin:end], nil
	case begin < size:
		return s.entries[begin:size], s.entries[:end-size]
	default:
		return s.entries[begin-size : end-size], nil
	}
}

// mergeOldest takes the oldest entries of a full ring into the slices of those views in whose windows they are.
func (s *opened) mergeOldest(now schema.Millis) {
	for i := range s.list {
		v, p := &s.list[i], &s.plan.views[i]
		reach := s.reach(now, p.window)
		for j := range fallOff {
			if e := s.at(j); s.age(e[0]) < reach {
				s.merge(v, p, e)
			}
		}
	}
	s.drop(fallOff)
}

// count adds an event.
func (s *opened) count(now schema.Millis) { s.push(now) }

// add adds an event with a number.
func (s *opened) add(now schema.Millis, x float64) {
	put(s.push(now), now, math.Float64bits(x))
	for i := range s.list {
		v := &s.list[i]
		switch s.plan.views[i].call {
		case rules.Min:
			v.offer(x, now, x <= v.extreme())
		case rules.Max:
			v.offer(x, now, x >= v.extreme())
		default:
			v.take(x)
		}
	}
}
