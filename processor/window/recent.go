package window

import "keypulse/schema"

// distinct and first_seen keep the latest maxExact different values: their hashes and when each was last seen, in
// this order. The entries are three columns (low halves, high halves, times) so that a hash is found by running over
// its low halves; head is where the used part of the columns begins.

const hashWords = 3

// maxRecent is the most room for entries: a little more than maxExact, so that they are closed up seldom.
const maxRecent = 1024

// columns returns the used part of the three columns.
func (s *opened) columns() (low, high, seen []uint32) {
	size := len(s.entries) / hashWords
	from, to := int(s.head), int(s.head)+int(s.n)
	return s.entries[from:to], s.entries[size+from : size+to], s.entries[2*size+from : 2*size+to]
}

// forget drops the values that were not seen after cutoff.
func (s *opened) forget(cutoff schema.Millis) {
	if s.newest <= cutoff {
		s.clear()
		return
	}
	if s.n > 0 && s.time(s.oldest) <= cutoff {
		_, _, seen := s.columns()
		for len(seen) > 0 && s.time(seen[0]) <= cutoff {
			s.head++
			s.n--
			seen = seen[1:]
		}
		s.noteOldest()
	}
	if s.merged != nil && s.merged.sketch.lost <= cutoff {
		s.setMerged(nil)
	}
}

// noteOldest keeps the time of the value that was seen longest ago.
func (s *opened) noteOldest() {
	if s.n > 0 {
		s.oldest = s.entries[2*(len(s.entries)/hashWords)+int(s.head)]
	}
}

// index returns the place of the hash among the used entries, -1 when it is not there. The latest are looked at
// first: most values come again soon. Entries are looked at four at a time, which halves the time for a thousand.
func (s *opened) index(hash uint64) int {
	low, high, _ := s.columns()
	wanted, n := uint32(hash), len(low)
	for ; n >= 4; n -= 4 {
		four := (*[4]uint32)(low[n-4 : n])
		if four[0] == wanted || four[1] == wanted || four[2] == wanted || four[3] == wanted {
			if i := indexBack(low, high, hash, n, n-4); i >= 0 {
				return i
			}
		}
	}
	return indexBack(low, high, hash, n, 0)
}

// indexBack looks for the hash from entry from-1 down to entry to.
func indexBack(low, high []uint32, hash uint64, from, to int) int {
	for i := from - 1; i >= to; i-- {
		if low[i] == uint32(hash) && high[i] == uint32(hash>>32) {
			return i
		}
	}
	return -1
}

// seen reports whether a value with the hash is in the window.
func (s *opened) seen(now, window schema.Millis, hash uint64) bool {
	s.forget(now - window)
	return s.index(hash) >= 0
}

// see adds a value. One that does not fit among the exact ones pushes out the one that was seen longest ago; for
// distinct, a sketch counts all of them from then on.
func (s *opened) see(now, window schema.Millis, hash uint64, sketched bool) {
	s.forget(now - window)
	i := s.index(hash)
	if i < 0 && s.n == maxExact {
		if sketched {
			s.overflow(window)
		}
		s.head++
		s.n--
	}
	if s.merged != nil {
		s.merged.sketch.add(hash, now)
	}
	if _, _, seen := s.columns(); i >= 0 && i == len(seen)-1 {
		seen[i], s.newest = uint32(now), now
	} else {
		if i >= 0 {
			s.take(i)
		}
		s.insert(hash, now)
	}
	s.noteOldest()
}

// take removes entry i.
func (s *opened) take(i int) {
	low, high, seen := s.columns()
	copy(low[i:], low[i+1:])
	copy(high[i:], high[i+1:])
	copy(seen[i:], seen[i+1:])
	s.n--
}

// insert adds the value that was seen last. A full row of entries is closed up, or moves to twice the room.
func (s *opened) insert(hash uint64, now schema.Millis) {
	if size := len(s.entries) / hashWords; int(s.head)+int(s.n) == size {
		if size < maxRecent && int(s.n) > size-1-size/16 {
			s.spread(max(firstRing, 2*size))
		} else {
			s.moveColumns(s.entries, size)
		}
	}
	s.n++
	s.newest = now
	low, high, seen := s.columns()
	last := len(low) - 1
	low[last], high[last], seen[last] = uint32(hash), uint32(hash>>32), uint32(now)
}

// spread moves the columns to a room for size entries.
func (s *opened) spread(size int) {
	old, block, room := s.entries, s.block, s.room
	s.room = 0 // setRoom shall not give it back yet
	s.setRoom(size * hashWords)
	to := s.entries
	s.entries = old
	s.moveColumns(to, size)
	if s.entries = to; room > 0 {
		s.rooms.entries.give(block, int(room))
	}
}

// moveColumns copies the columns to the beginning of those of a room for size entries.
func (s *opened) moveColumns(to []uint32, size int) {
	low, high, seen := s.columns()
	copy(to, low)
	copy(to[size:], high)
	copy(to[2*size:], seen)
	s.head = 0
}

// overflow notes that the value seen longest ago leaves the exact ones, and starts the sketch with all of them.
func (s *opened) overflow(window schema.Millis) {
	low, high, seen := s.columns()
	if s.merged == nil {
		s.setMerged(&merged{sketch: newSketch(window)})
		for i := range low {
			s.merged.sketch.add(uint64(high[i])<<32|uint64(low[i]), s.time(seen[i]))
		}
	}
	s.merged.sketch.lost = s.time(seen[0])
}

// distinct is the number of different values in the window.
func (s *opened) distinct(now, window schema.Millis) uint64 {
	s.forget(now - window)
	if s.merged == nil {
		return uint64(s.n)
	}
	return max(maxExact+1, s.merged.sketch.estimate(now))
}

// clear drops everything. Large room is given back; a little stays for the next event.
func (s *opened) clear() {
	s.head, s.n = 0, 0
	if s.extra != 0 {
		s.setMerged(nil)
	}
	if s.room > keptWords {
		s.setRoom(0)
	}
}

// keptWords is how much room an aggregate keeps when its window runs empty.
const keptWords = 16
