package window

import (
	"keypulse/rules"
	"keypulse/schema"
)

// Hashes of values are kept in the order in which the values were seen last, each once: in a row, which is looked through, while they are
// few; in a table from then on; in a row again, of at most maxExact values, while a view has a sketch, which takes the memory of
// the table.

// rowSize is the size of a row that holds maxExact values beside a sketch. It is closed up when its end is reached.
const rowSize = 1024

// The hash 0 is of no value, and 1 of one that has gone.
const (
	noHash   = 0
	goneHash = 1
)

func valueHash(v rules.Value) uint64 { return max(goneHash+1, v.Hash()) }

// expireValues drops what has left all windows, where that is simple to tell.
func (s *opened) expireValues(now schema.Millis) {
	if s.n > 0 && s.reach(now, s.plan.longest) == 0 {
		s.clear()
	}
	if s.nviews > 0 && !s.table {
		s.expireSketches(now)
	}
}

// lookUp returns the place of the value with the hash, -1 when it is not there.
func (s *opened) lookUp(hash uint64) int {
	if s.table {
		return s.lookUpTable(hash)
	}
	from := int(s.first)
	row := s.entries[moreWords*from : moreWords*(from+int(s.n))]
	for i := len(row) - moreWords; i >= 0; i -= moreWords { // the latest first: most values come again soon
		if content(row[i:]) == hash {
			return from + i/moreWords
		}
	}
	return -1
}

// holds reports whether the value in a place, if there is one, was seen in a window.
func (s *opened) holds(place int, now, window schema.Millis) bool {
	return place >= 0 && s.age(s.entries[place*s.words()]) < s.reach(now, window)
}

// see notes that a value was seen at the time now. Its place is what lookUp says.
func (s *opened) see(now schema.Millis, hash uint64, place int) {
	switch {
	case s.table:
		s.seeInTable(now, hash, place)
		return
	case place >= 0:
		end := moreWords * (int(s.first) + int(s.n))
		copy(s.entries[moreWords*place:end], s.entries[moreWords*(place+1):end])
		s.n--
	case s.nviews > 0 && s.n == maxExact:
		s.lose(now, s.at(0)[0])
		s.drop(1)
	}
	if int(s.first)+int(s.n) == int(s.size) {
		if s.makeRowRoom(now); s.table {
			s.seeInTable(now, hash, -1)
			return
		}
	}
	s.newest = now
	s.n++
	put(s.at(int(s.n)-1), now, hash)
	for i := range s.list {
		if m := s.list[i].merged; m != 0 {
			s.rooms.merged[m].sketch.add(hash, now)
		}
	}
}

// makeRowRoom makes room at the end of a full row, or a table of it.
func (s *opened) makeRowRoom(now schema.Millis) {
	gone := s.begin(now, s.plan.longest)
	left := s.entries[moreWords*(int(s.first)+gone) : moreWords*(int(s.first)+int(s.n))]
	n, size := len(left)/moreWords, int(s.size)
	switch {
	case s.nviews > 0 || 4*n < 3*size:
		copy(s.entries, left)
		s.first, s.n = 0, uint16(n)
	case 2*size >= viewedSize:
		s.makeTable(now)
	default:
		block, room := s.block, len(s.entries)
		s.newRoom(max(1, 2*size), false)
		copy(s.entries, left)
		s.n = uint16(n)
		s.giveRoom(block, room)
	}
}

// lose notes that the value that was seen longest ago, at a time, leaves the exact ones. In the views whose windows hold it a sketch
// counts from now on; true when there is any.
func (s *opened) lose(now schema.Millis, oldest uint32) (sketched bool) {
	for i := range s.list {
		v, p := &s.list[i], &s.plan.views[i]
		if p.call != rules.Distinct || s.age(oldest) >= s.reach(now, p.window) {
			continue
		}
		if v.merged == 0 {
			k := newSketch(p.window)
			s.eachValue(func(low uint32, hash uint64) { k.add(hash, s.time(low)) })
			s.rooms.setMerged(v, &merged{sketch: k})
		}
		s.rooms.merged[v.merged].sketch.lost = s.time(oldest)
		sketched = true
	}
	return sketched
}

// eachValue calls f for each value, the one seen longest ago first.
func (s *opened) eachValue(f func(low uint32, hash uint64)) {
	if s.table {
		for place := s.first; place != noPlace; place = nextOf(s.entry(place)) {
			e := s.entry(place)
			f(e[0], content(e))
		}
		return
	}
	for i := range int(s.n) {
		e := s.at(i)
		f(e[0], content(e))
	}
}

// expireSketches drops the sketches of windows that have few enough values again. When none is left there is room for a table.
func (s *opened) expireSketches(now schema.Millis) {
	sketched := false
	for i := range s.list {
		v := &s.list[i]
		switch {
		case v.merged == 0:
		case s.rooms.merged[v.merged].sketch.lost > now-s.plan.views[i].window:
			sketched = true
		default:
			s.rooms.setMerged(v, nil)
		}
	}
	if !sketched {
		s.makeTable(now)
	}
}

// distinct is the number of different values in the window of view i.
func (s *opened) distinct(i int, now schema.Millis) int64 {
	window := s.plan.views[i].window
	if s.table {
		s.advance(i, now)
		return int64(s.list[i].live)
	}
	if s.nviews > 0 && s.list[i].merged != 0 {
		if k := s.rooms.merged[s.list[i].merged].sketch; k.lost > now-window {
			return max(maxExact+1, int64(k.estimate(now)))
		}
	}
	return int64(int(s.n) - s.begin(now, window))
}
