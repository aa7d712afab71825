package window

import (
	"encoding/binary"
	"math"

	"keypulse/rules"
	"keypulse/schema"
)

// appendState writes the key without the states of aggregates that the tenant has dropped.
func (s *Store) appendState(b []byte, k *key, t *tenant) []byte {
	b = appendText(b, s.keys.name(k))
	b = binary.AppendVarint(b, int64(k.clock))
	b = appendBool(b, k.resting)
	states, live := k.states(&s.rooms), 0
	for i := range states {
		if _, ok := t.live[states[i].slot]; ok {
			live++
		}
	}
	b = binary.AppendUvarint(b, uint64(live))
	for i := range states {
		if call, ok := t.live[states[i].slot]; ok {
			st := s.rooms.open(&states[i])
			b = st.append(b, call, k.clock)
		}
	}
	return b
}

// readKey reads what appendState wrote after the key's name.
func (s *Store) readKey(r *reader, k *key, t *tenant) {
	k.clock, k.resting = schema.Millis(r.varint()), r.bool()
	n := int(r.uvarint(rules.MaxAggregates))
	if n == 0 {
		return
	}
	s.resize(k, n)
	k.n = uint16(n)
	states := k.states(&s.rooms)
	clear(states)
	for i := range states {
		st := s.rooms.open(&states[i])
		r.state(&st, t, k.clock)
	}
}

// append writes the entries in their order, and with them the size of their room and where they begin in it: sums
// are added up in blocks of the room, and have to be again.
func (s *opened) append(b []byte, call rules.Call, clock schema.Millis) []byte {
	b = binary.AppendUvarint(b, uint64(s.slot))
	b = binary.AppendVarint(b, int64(clock-s.newest))
	b = binary.AppendUvarint(b, uint64(len(s.entries)))
	b = binary.AppendUvarint(b, uint64(s.head))
	b = binary.AppendUvarint(b, uint64(s.n))
	for _, words := range s.used(call) {
		b = appendWords(b, words)
	}
	b = appendBool(b, s.merged != nil)
	if s.merged != nil {
		b = s.merged.append(b)
	}
	return b
}

// used is the part of the room that holds entries: the columns of a hash, the two ends of a ring.
func (s *opened) used(call rules.Call) [3][]uint32 {
	if s.n == 0 || len(s.entries) == 0 {
		return [3][]uint32{}
	}
	if shape(call) == hashes {
		low, high, seen := s.columns()
		return [3][]uint32{low, high, seen}
	}
	words := entryWords(call)
	from, to := int(s.head)*words, (int(s.head)+int(s.n))*words
	if to <= len(s.entries) {
		return [3][]uint32{s.entries[from:to]}
	}
	return [3][]uint32{s.entries[from:], s.entries[:to-len(s.entries)]}
}

func entryWords(call rules.Call) int {
	switch shape(call) {
	case times:
		return timeWords
	case stamp:
		return 0
	default:
		return numberWords
	}
}

// state reads a state, which is empty. What a damaged input claims is checked before it takes room.
func (r *reader) state(s *opened, t *tenant, clock schema.Millis) {
	s.slot, s.newest = uint32(r.uvarint(math.MaxUint32)), clock-schema.Millis(r.varint())
	call := t.live[s.slot]
	words := entryWords(call)
	room := int(r.uvarint(maxRecent * numberWords))
	head, n := int(r.uvarint(maxRecent)), int(r.uvarint(maxExact))
	if words > 0 && !fits(room, head, n, words, shape(call) == hashes) || 4*n*words > len(r.b) || words == 0 && room > 0 {
		r.failed = true
		return
	}
	s.setRoom(room)
	s.head, s.n = uint16(head), uint16(n)
	for _, list := range s.used(call) {
		r.words(list)
	}
	switch {
	case n == 0:
	case shape(call) == hashes:
		s.noteOldest()
	case words > 0:
		s.oldest = s.at(0, words)[0]
	}
	if r.bool() {
		s.setMerged(r.merged(len(s.entries) / numberWords))
		if s.merged.blocks != nil {
			s.restoreBlocks(call == rules.Stddev)
		}
	}
}

// fits reports whether n entries from head on can be in the room: in a ring of a power of two, or in columns.
func fits(room, head, n, words int, columns bool) bool {
	size := room / words
	if room%words != 0 || size&(size-1) != 0 || n > size || head > size {
		return false
	}
	return !columns && (head < size || size == 0) || columns && head+n <= size
}

// restoreBlocks summarises the blocks anew, those that are not whole but for the last one without meaning.
func (s *opened) restoreBlocks(spread bool) {
	end := (int(s.head) + int(s.n)) & (len(s.entries)/numberWords - 1)
	for i := range len(s.entries) / numberWords { // from the place after the last entry round to it
		place := (end + i) & (len(s.entries)/numberWords - 1)
		s.merged.blocks.append(place, number(s.entries[place*numberWords:]), spread)
	}
}

func (m *merged) append(b []byte) []byte {
	b = appendBool(b, m.blocks != nil)
	b = binary.AppendUvarint(b, uint64(len(m.slices)-m.first))
	for _, s := range m.slices[m.first:] {
		b = binary.LittleEndian.AppendUint32(b, s.first)
		b = binary.LittleEndian.AppendUint32(b, s.last)
		b = binary.AppendUvarint(b, s.summary.n)
		for _, f := range []float64{s.summary.sum, s.summary.low, s.summary.high, s.summary.variance} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
		}
	}
	b = appendBool(b, m.sketch != nil)
	if m.sketch != nil {
		b = m.sketch.append(b)
	}
	return b
}

// merged reads what is merged beyond a ring of size entries.
func (r *reader) merged(size int) *merged {
	m := &merged{}
	if r.bool() {
		m.blocks = newBlocks(size)
	}
	n := r.uvarint(maxSlices)
	for range n {
		s := slice{first: r.word(), last: r.word()}
		s.summary.n = r.uvarint(math.MaxUint64)
		for _, f := range []*float64{&s.summary.sum, &s.summary.low, &s.summary.high, &s.summary.variance} {
			*f = math.Float64frombits(r.long())
		}
		m.count += s.summary.n
		m.push(s)
	}
	if r.bool() {
		m.sketch = r.sketch()
	}
	return m
}

func (k *sketch) append(b []byte) []byte {
	for _, n := range []int64{int64(k.window), k.now, k.left, int64(k.lost)} {
		b = binary.AppendVarint(b, n)
	}
	return append(b, k.cells...)
}

func (r *reader) sketch() *sketch {
	k := newSketch(max(1, schema.Millis(r.varint())))
	k.now, k.left, k.lost = r.varint(), r.varint(), schema.Millis(r.varint())
	copy(k.cells, r.bytes(len(k.cells)))
	for i, c := range k.cells {
		if c != 0 {
			k.set[i/sketchColumns]++
		}
	}
	return k
}
