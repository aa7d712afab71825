package window

import (
	"encoding/binary"
	"math"

	"keypulse/rules"
	"keypulse/schema"
)

// append writes the key without the states of aggregates that the tenant has dropped.
func (k *key) append(b []byte, t *tenant) []byte {
	b = appendText(b, k.name)
	b = binary.AppendVarint(b, int64(k.clock))
	b = appendBool(b, k.resting)
	live := 0
	for i := range k.states {
		if _, ok := t.live[k.states[i].slot]; ok {
			live++
		}
	}
	b = binary.AppendUvarint(b, uint64(live))
	for i := range k.states {
		if call, ok := t.live[k.states[i].slot]; ok {
			b = k.states[i].append(b, call)
		}
	}
	return b
}

func (r *reader) key(t *tenant) key {
	k := key{name: r.text(), clock: schema.Millis(r.varint()), resting: r.bool(), layout: t.layout}
	n := r.uvarint(rules.MaxAggregates)
	if n > 0 {
		k.states = make([]state, 0, n)
	}
	for range n {
		k.states = append(k.states, r.state(t))
	}
	return k
}

// append writes the entries in their order, and with them the size of their room and where they begin in it: sums
// are added up in blocks of the room, and have to be again.
func (s *state) append(b []byte, call rules.Call) []byte {
	b = binary.AppendUvarint(b, uint64(s.slot))
	b = binary.AppendVarint(b, int64(s.newest))
	b = binary.AppendUvarint(b, uint64(len(s.entries)))
	b = binary.AppendUvarint(b, uint64(s.head))
	b = binary.AppendUvarint(b, uint64(s.n))
	switch shape(call) {
	case hashes:
		low, high, seen := s.columns()
		for _, column := range [][]uint32{low, high, seen} {
			for _, word := range column {
				b = binary.LittleEndian.AppendUint32(b, word)
			}
		}
	case times, numbers:
		for i := range int(s.n) {
			for _, word := range s.at(i, entryWords(call)) {
				b = binary.LittleEndian.AppendUint32(b, word)
			}
		}
	default:
	}
	b = appendBool(b, s.merged != nil)
	if s.merged != nil {
		b = s.merged.append(b)
	}
	return b
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

func (r *reader) state(t *tenant) state {
	s := state{slot: uint32(r.uvarint(math.MaxUint32)), newest: schema.Millis(r.varint())}
	call := t.live[s.slot]
	words := entryWords(call)
	room := int(r.uvarint(maxRecent * numberWords))
	head, n := int(r.uvarint(maxRecent)), int(r.uvarint(maxExact))
	if words == 0 {
		s.n = uint16(n)
	} else if room%words != 0 || n > room/words || 4*n*words > len(r.b) {
		r.failed = true
		return s
	}
	s.head, s.n = uint16(head), uint16(n)
	if room > 0 {
		s.entries = make([]uint32, room)
	}
	switch shape(call) {
	case hashes:
		if head+n > room/hashWords {
			r.failed = true
			return s
		}
		low, high, seen := s.columns()
		for _, column := range [][]uint32{low, high, seen} {
			for i := range column {
				column[i] = r.word()
			}
		}
	case times, numbers:
		for i := range n {
			for w, entry := 0, s.at(i, words); w < words; w++ {
				entry[w] = r.word()
			}
		}
	default:
	}
	if r.bool() {
		s.merged = r.merged()
		if s.merged.blocks != nil {
			s.restoreBlocks(call == rules.Stddev)
		}
	}
	return s
}

// restoreBlocks summarises the blocks anew. Those that are not whole get a summary that nobody reads.
func (s *state) restoreBlocks(spread bool) {
	s.merged.blocks = make([]summary, len(s.entries)/numberWords/blockEntries)
	for b := range s.merged.blocks {
		s.merged.blocks[b] = s.block(b, spread)
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

func (r *reader) merged() *merged {
	m := &merged{}
	if r.bool() {
		m.blocks = []summary{}
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
