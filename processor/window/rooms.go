package window

// rooms is where the states of all keys of a store are, their entries, and what is merged.
type rooms struct {
	states  arena[state]
	entries arena[uint32]

	merged      []*merged // by number; 0 is none
	free        []uint32  // numbers that nothing has
	mergedBytes int
}

// bytes is the memory that is given out.
func (r *rooms) bytes() int {
	return r.states.used*stateBytes + r.entries.used*wordBytes + r.mergedBytes
}

// opened is a state at hand: with its entries and what it has merged.
type opened struct {
	*state
	rooms   *rooms
	entries []uint32
	merged  *merged // what is beyond maxExact; nil while there is nothing
}

func (r *rooms) open(s *state) opened {
	o := opened{state: s, rooms: r, entries: r.entries.at(s.block, int(s.room))}
	if s.extra != 0 {
		o.merged = r.merged[s.extra]
	}
	return o
}

// close gives back all that the state has.
func (r *rooms) close(s *state) {
	o := r.open(s)
	o.setMerged(nil)
	o.setRoom(0)
}

// setRoom gives the state room for so many words, whose content is arbitrary, in place of what it had.
func (s *opened) setRoom(words int) {
	if s.room > 0 {
		s.rooms.entries.give(s.block, int(s.room))
	}
	s.block, s.room, s.entries = 0, uint16(words), nil
	if words > 0 {
		s.block = s.rooms.entries.take(words)
		s.entries = s.rooms.entries.at(s.block, words)
	}
}

// setMerged makes m, or nothing, what the state has merged.
func (s *opened) setMerged(m *merged) {
	if s.merged != nil {
		s.rooms.mergedBytes -= s.merged.bytes()
		s.rooms.merged[s.extra] = nil
		s.rooms.free = append(s.rooms.free, s.extra)
		s.extra = 0
	}
	s.merged = m
	if m == nil {
		return
	}
	s.rooms.mergedBytes += m.bytes()
	if n := len(s.rooms.free); n > 0 {
		s.extra = s.rooms.free[n-1]
		s.rooms.free = s.rooms.free[:n-1]
	} else {
		if len(s.rooms.merged) == 0 {
			s.rooms.merged = append(s.rooms.merged, nil)
		}
		s.extra = uint32(len(s.rooms.merged))
		s.rooms.merged = append(s.rooms.merged, nil)
	}
	s.rooms.merged[s.extra] = m
}

// grow notes that what is merged has grown, or shrunk, from so many bytes.
func (s *opened) grow(before int) { s.rooms.mergedBytes += s.merged.bytes() - before }
