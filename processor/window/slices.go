package window

import (
	"math"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

// sliceParts is the smallest number of slices that a window is cut into: its trailing edge is off by at most the
// width of one.
const sliceParts = 256

// maxSlices is how many slices a window can touch, and some room, so that dropped ones are closed up seldom.
const maxSlices = sliceParts + 8

// merged is what a window holds beyond the exact entries: neighbouring events in slices, or for distinct a sketch.
type merged struct {
	slices []slice
	totals []total // of the slices; none for counts
	sketch *sketch
}

// slice is some neighbouring events, the first and the last of which are at most a 256th of the window apart.
type slice struct {
	first, last uint32 // times
	n           uint32
	wild        uint32 // numbers that the total leaves out
}

// total is what a view needs to know of a slice's numbers: their sum and, for stddev, the sum of the squares of their distances from
// their mean; or the extreme of them, in place of the wild ones' sum.
type total struct {
	sum     exact
	wild    float64
	squares float64
}

func (m *merged) bytes() int {
	n := int(unsafe.Sizeof(merged{})) + cap(m.slices)*int(unsafe.Sizeof(slice{})) + cap(m.totals)*int(unsafe.Sizeof(total{}))
	if m.sketch != nil {
		n += m.sketch.bytes()
	}
	return n
}

// merge takes an entry, which no longer fits into the exact ones, into the last slice of the view or into a new one.
func (s *opened) merge(v *view, p *viewPlan, entry []uint32) {
	if v.merged == 0 {
		s.rooms.setMerged(v, &merged{})
	}
	m, low := s.rooms.merged[v.merged], entry[0]
	n := len(m.slices)
	if n == 0 || schema.Millis(low-m.slices[n-1].first) > p.window/sliceParts {
		before := m.bytes()
		m.slices = appendSlice(m.slices, slice{first: low})
		if s.shape == numbers {
			m.totals = appendSlice(m.totals, emptyTotal(p.call))
		}
		s.rooms.mergedBytes += m.bytes() - before
		n++
	}
	last := &m.slices[n-1]
	last.last = low
	if s.shape == numbers {
		m.totals[n-1].take(last, p.call, number(entry))
	}
	last.n++
	v.sliced++
	v.edge = m.slices[0].last
}

// appendSlice appends to a list that grows by doubling up to maxSlices.
func appendSlice[T any](list []T, one T) []T {
	if len(list) == cap(list) {
		list = append(make([]T, 0, min(max(8, 2*len(list)), max(maxSlices, len(list)+1))), list...)
	}
	return append(list, one)
}

func emptyTotal(c rules.Call) total {
	switch c {
	case rules.Min:
		return total{wild: math.Inf(1)}
	case rules.Max:
		return total{wild: math.Inf(-1)}
	default:
		return total{}
	}
}

// take adds a number to what a slice, which does not count it yet, knows of its numbers.
func (t *total) take(s *slice, c rules.Call, x float64) {
	switch c {
	case rules.Min:
		t.wild = min(t.wild, x)
		return
	case rules.Max:
		t.wild = max(t.wild, x)
		return
	case rules.Stddev:
		if n := float64(s.n); n > 0 {
			distance := x - (t.sum.float()+t.wild)/n
			t.squares += float64(float64(distance*distance) * (n / (n + 1)))
		}
	default:
	}
	if !t.sum.add(x) {
		t.wild += x
		s.wild++
	}
}

// expire drops the slices of a view that have left its window; true when none is left.
func (s *opened) expire(v *view, p *viewPlan, reach uint32) bool {
	if s.age(v.edge) < reach {
		return false
	}
	m, gone := s.rooms.merged[v.merged], 0
	for ; gone < len(m.slices) && s.age(m.slices[gone].last) >= reach; gone++ {
		v.sliced -= uint64(m.slices[gone].n)
		if s.shape == numbers && p.call != rules.Min && p.call != rules.Max {
			v.total.minus(&m.totals[gone].sum)
			v.wild -= m.slices[gone].wild
		}
	}
	if gone == len(m.slices) {
		s.rooms.setMerged(v, nil)
		return true
	}
	m.slices = m.slices[:copy(m.slices, m.slices[gone:])]
	if m.totals != nil {
		m.totals = m.totals[:copy(m.totals, m.totals[gone:])]
	}
	v.edge = m.slices[0].last
	return false
}

// extreme is the largest number of the slices times sign, and the time until which it counts.
func (m *merged) extreme(sign float64) (best float64, at uint32) {
	best = math.Inf(-1)
	for i := range m.totals {
		if x := sign * m.totals[i].wild; x >= best {
			best, at = x, m.slices[i].last
		}
	}
	return best, at
}
