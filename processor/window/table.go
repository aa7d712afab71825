package window

import "keypulse/schema"

// A table finds a value's entry by its hash, with open addressing, and links the entries in the order in which the values were seen last.
// Behind its places it has a word that counts those that are not free.

// noPlace ends the list of a table's entries.
const noPlace = ^uint16(0)

// The sizes of tables are 3·2^k-1, so that they fill their blocks.
const (
	firstTable = 23
	maxTable   = 1359
)

// entry is the entry in a place of a table.
func (s *opened) entry(place uint16) []uint32 {
	from := tableWords * int(place)
	return s.entries[from : from+tableWords]
}

func before(e []uint32) uint16 { return uint16(e[3] >> 16) }
func nextOf(e []uint32) uint16 { return uint16(e[3]) }

func setBefore(e []uint32, place uint16) { e[3] = e[3]&0xffff | uint32(place)<<16 }
func setNext(e []uint32, place uint16)   { e[3] = e[3]&^0xffff | uint32(place) }

// taken counts the places that are not free.
func (s *opened) taken() *uint32 { return &s.entries[tableWords*int(s.size)] }

// home is where a hash is looked for first.
func (s *opened) home(hash uint64) uint16 { return uint16(uint64(uint32(hash)) * uint64(s.size) >> 32) }

func (s *opened) lookUpTable(hash uint64) int {
	place, found := s.find(hash)
	if !found {
		return -1
	}
	return int(place)
}

// find returns the place of a hash, or the free one for it.
func (s *opened) find(hash uint64) (place uint16, found bool) {
	for place = s.home(hash); ; {
		switch content(s.entry(place)) {
		case hash:
			return place, true
		case noHash:
			return place, false
		}
		if place++; place == s.size {
			place = 0
		}
	}
}

// seeInTable notes that a value was seen. Its place is -1 when it is not there.
func (s *opened) seeInTable(now schema.Millis, hash uint64, place int) {
	if place >= 0 {
		s.seeAgain(now, uint16(place))
		return
	}
	if 8*(*s.taken()+1) > 7*uint32(s.size) {
		s.makeTable(now)
	}
	s.newest = now
	s.insert(uint32(now), hash)
	for i := range s.list {
		s.list[i].enter(s.last, uint32(now))
	}
	if s.n > maxExact {
		s.overflow(now)
	}
}

// insert adds the value that was seen last, unless it is there.
func (s *opened) insert(low uint32, hash uint64) {
	place, found := s.find(hash)
	if found {
		return
	}
	e := s.entry(place)
	e[0], e[1], e[2] = low, uint32(hash>>32), uint32(hash)
	s.n++
	*s.taken()++
	s.append(place, e)
}

// append makes an entry the newest in the list.
func (s *opened) append(place uint16, e []uint32) {
	e[3] = uint32(s.last)<<16 | uint32(noPlace)
	if s.last == noPlace {
		s.first = place
	} else {
		setNext(s.entry(s.last), place)
	}
	s.last = place
}

// unlink takes an entry out of the list.
func (s *opened) unlink(e []uint32) {
	older, newer := before(e), nextOf(e)
	if older == noPlace {
		s.first = newer
	} else {
		setNext(s.entry(older), newer)
	}
	if newer == noPlace {
		s.last = older
	} else {
		setBefore(s.entry(newer), older)
	}
}

// seeAgain notes that a value that is there was seen again.
func (s *opened) seeAgain(now schema.Millis, place uint16) {
	e := s.entry(place)
	seen, newer := e[0], nextOf(e)
	e[0] = uint32(now)
	if newer != noPlace {
		s.unlink(e)
		s.append(place, e)
	} else {
		newer = place
	}
	for i := range s.list {
		switch v := &s.list[i]; {
		case v.live == 0 || s.age(seen) > s.age(v.edge):
			v.enter(place, uint32(now))
		case uint16(v.from) == place:
			v.from, v.edge = uint32(newer), s.entry(newer)[0]
		}
	}
	s.newest = now
}

// enter notes that a value, seen now, is in the window and was not before.
func (v *view) enter(place uint16, low uint32) {
	if v.live == 0 {
		v.from, v.edge = uint32(place), low
	}
	v.live++
}

// leaveTable moves a view on to the values within its reach.
func (s *opened) leaveTable(v *view, reach uint32) {
	for v.live > 0 && s.age(v.edge) >= reach {
		if v.live--; v.live > 0 {
			newer := nextOf(s.entry(uint16(v.from)))
			v.from, v.edge = uint32(newer), s.entry(newer)[0]
		}
	}
}

// makeTable writes the values that a window holds into a new table.
func (s *opened) makeTable(now schema.Millis) {
	old := *s.series
	from := opened{series: &old, plan: s.plan, rooms: s.rooms, entries: s.entries}
	size, reach := firstTable, s.reach(now, s.plan.longest)
	for 3*int(s.n) > 2*size && size < maxTable {
		size = min(2*size+1, maxTable)
	}
	s.newRoom(size, true)
	clear(s.entries)
	s.n, s.first, s.last = 0, noPlace, noPlace
	from.eachValue(func(low uint32, hash uint64) {
		if hash > goneHash && s.age(low) < reach {
			s.insert(low, hash)
		}
	})
	s.giveRoom(old.block, len(from.entries))
	if s.nviews == 0 {
		s.makeViews(now)
		return
	}
	for i := range s.list {
		s.fillView(i, now)
	}
}

// fillTableView makes a view of the values within its reach.
func (s *opened) fillTableView(v *view, reach uint32) {
	v.live = 0
	for place := s.first; place != noPlace; place = nextOf(s.entry(place)) {
		if low := s.entry(place)[0]; s.age(low) < reach {
			v.enter(place, low)
		}
	}
}

// overflow drops from a table with one value too many those that have left all windows or, when there are none, the one that was seen
// longest ago.
func (s *opened) overflow(now schema.Millis) {
	s.advanceAll(now)
	reach := s.reach(now, s.plan.longest)
	for s.age(s.entry(s.first)[0]) >= reach {
		s.forget(s.first)
	}
	switch {
	case s.n <= maxExact:
	case s.lose(now, s.entry(s.first)[0]):
		s.makeRow()
	default:
		s.forget(s.first)
	}
}

// forget drops the value that was seen longest ago.
func (s *opened) forget(place uint16) {
	e := s.entry(place)
	for i := range s.list {
		if v := &s.list[i]; v.live > 0 && uint16(v.from) == place {
			s.leaveTable(v, s.age(e[0]))
		}
	}
	s.unlink(e)
	e[1], e[2] = 0, goneHash
	s.n--
}

// makeRow writes the latest maxExact values into a row.
func (s *opened) makeRow() {
	old := *s.series
	from := opened{series: &old, plan: s.plan, rooms: s.rooms, entries: s.entries}
	s.newRoom(rowSize, false)
	skip, to := int(s.n)-maxExact, s.entries
	from.eachValue(func(low uint32, hash uint64) {
		if skip--; skip < 0 {
			to[0], to[1], to[2] = low, uint32(hash>>32), uint32(hash)
			to = to[moreWords:]
		}
	})
	s.n = maxExact
	s.giveRoom(old.block, len(from.entries))
}
