package window

import (
	"unsafe"

	"keypulse/schema"
)

// sliceParts is the smallest number of slices that a window is cut into: its trailing edge is off by at most the
// width of one.
const sliceParts = 256

// maxSlices is how many slices a window can touch, and some room, so that dropped ones are closed up seldom.
const maxSlices = sliceParts + 8

// merged is what a window holds beyond its exact entries: neighbouring events in slices, for distinct a sketch. A
// ring that is large has its blocks here.
type merged struct {
	slices []slice
	first  int    // the oldest slice in use
	count  uint64 // events in the slices
	closed summary
	fresh  bool // closed is the summary of all slices but the last

	blocks *blocks
	sketch *sketch
}

// blocks are the summaries of a large ring: those of the whole blocks, and of the entries since the last of them.
type blocks struct {
	list   []summary
	tail   summary
	whole  summary // of as many neighbouring blocks as wholes says (0: not known), of which from is the first
	from   uint16
	wholes uint16
}

func newBlocks(ring int) *blocks { return &blocks{list: make([]summary, ring/blockEntries)} }

func (k *blocks) bytes() int {
	return int(unsafe.Sizeof(blocks{})) + cap(k.list)*int(unsafe.Sizeof(summary{}))
}

// slice is some neighbouring events, the first and the last of which are at most a 256th of the window apart.
type slice struct {
	first, last uint32 // times
	summary     summary
}

func (m *merged) bytes() int {
	n := int(unsafe.Sizeof(merged{})) + cap(m.slices)*int(unsafe.Sizeof(slice{}))
	if m.blocks != nil {
		n += m.blocks.bytes()
	}
	if m.sketch != nil {
		n += m.sketch.bytes()
	}
	return n
}

// merge takes the oldest entry, which no longer fits into the exact ones, into the last slice or a new one.
func (s *opened) merge(low uint32, window schema.Millis, x float64, spread bool) {
	if s.merged == nil {
		s.setMerged(&merged{})
	}
	m := s.merged
	m.count++
	one := summary{n: 1, sum: x, low: x, high: x}
	if n := len(m.slices); n > m.first {
		last := &m.slices[n-1]
		if schema.Millis(low-last.first) <= window/sliceParts {
			last.last = low
			last.summary.join(&one, spread)
			return
		}
	}
	m.fresh = false
	before := m.bytes()
	m.push(slice{first: low, last: low, summary: one})
	s.grow(before)
}

// dropSlices gives back the room of slices, all of which have left the window.
func (s *opened) dropSlices() {
	if s.merged.blocks == nil {
		s.setMerged(nil)
		return
	}
	before := s.merged.bytes()
	s.merged.slices, s.merged.first, s.merged.count = nil, 0, 0
	s.grow(before)
}

// push appends a slice. The room grows by doubling up to its bound, where dropped slices are closed up instead.
func (m *merged) push(s slice) {
	if len(m.slices) == cap(m.slices) {
		live := m.slices[m.first:]
		size := min(max(8, 2*len(live)), maxSlices)
		if cap(m.slices) < size {
			live = append(make([]slice, 0, size), live...)
		} else {
			live = append(m.slices[:0], live...)
		}
		m.slices, m.first = live, 0
	}
	m.slices = append(m.slices, s)
}

// expire drops the slices whose last event is not after cutoff; false when none is left.
func (m *merged) expire(s *state, cutoff schema.Millis) bool {
	for m.first < len(m.slices) && s.time(m.slices[m.first].last) <= cutoff {
		m.count -= m.slices[m.first].summary.n
		m.first++
		m.fresh = false
	}
	return m.first < len(m.slices)
}

// summary summarises the slices. That of all but the last is kept until one is dropped or closed.
func (m *merged) summary(spread bool) summary {
	n := len(m.slices)
	if n == m.first {
		return summary{}
	}
	if !m.fresh {
		m.closed, m.fresh = summary{}, true
		for i := m.first; i < n-1; i++ {
			m.closed.join(&m.slices[i].summary, spread)
		}
	}
	sum := m.closed
	sum.join(&m.slices[n-1].summary, spread)
	return sum
}

// append adds the entry in a place of the ring to the summary of its block.
func (k *blocks) append(place int, x float64, spread bool) {
	if place%blockEntries == 0 {
		k.tail = summary{}
	}
	k.tail.add(x, spread)
	if place%blockEntries == blockEntries-1 {
		k.list[place/blockEntries] = k.tail
		k.wholes = 0
	}
}

// join summarises n neighbouring blocks from first on. It is kept until the window moves on to other blocks.
func (k *blocks) join(first, n int, spread bool) *summary {
	if int(k.wholes) != n || int(k.from) != first {
		k.whole = summary{}
		for i := range n {
			k.whole.join(&k.list[(first+i)&(len(k.list)-1)], spread)
		}
		k.from, k.wholes = uint16(first), uint16(n)
	}
	return &k.whole
}
