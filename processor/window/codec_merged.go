package window

import (
	"encoding/binary"
	"math"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// append appends a sketch, or slices.
func (m *merged) append(b []byte, shape entryShape) []byte {
	if shape == hashes {
		return m.sketch.append(b)
	}
	b = varint.AppendUint(b, uint64(len(m.slices)))
	for i, s := range m.slices {
		b = binary.LittleEndian.AppendUint32(b, s.first)
		b = binary.LittleEndian.AppendUint32(b, s.last)
		b = varint.AppendUint(b, s.n)
		if shape == numbers {
			b = varint.AppendUint(b, s.wild)
			b = m.totals[i].append(b)
		}
	}
	return b
}

func (t *total) append(b []byte) []byte {
	for _, word := range t.sum {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(t.wild))
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(t.squares))
}

// readMerged reads what append wrote: a sketch, or at least one slice.
func readMerged(r *varint.Reader, shape entryShape) *merged {
	if shape == hashes {
		return &merged{sketch: readSketch(r)}
	}
	m := &merged{}
	n := int(r.Up(maxSlices))
	for range n {
		m.slices = appendSlice(m.slices, slice{first: readWord(r), last: readWord(r), n: uint32(r.Up(math.MaxUint32))})
		if shape == numbers {
			m.slices[len(m.slices)-1].wild = uint32(r.Up(math.MaxUint32))
			m.totals = appendSlice(m.totals, readTotal(r))
		}
	}
	if n == 0 {
		r.Fail()
	}
	return m
}

func readTotal(r *varint.Reader) (t total) {
	for i := range t.sum {
		t.sum[i] = readLong(r)
	}
	t.wild, t.squares = math.Float64frombits(readLong(r)), math.Float64frombits(readLong(r))
	return t
}

func readWord(r *varint.Reader) uint32 {
	if b := r.Take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func readLong(r *varint.Reader) uint64 {
	if b := r.Take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (k *sketch) append(b []byte) []byte {
	for _, n := range []int64{int64(k.window), k.now, k.left, int64(k.lost)} {
		b = varint.AppendInt(b, n)
	}
	return append(b, k.cells...)
}

func readSketch(r *varint.Reader) *sketch {
	k := newSketch(max(1, schema.Millis(r.Int())))
	k.now, k.left, k.lost = r.Int(), r.Int(), schema.Millis(r.Int())
	copy(k.cells, r.Take(len(k.cells)))
	for i, c := range k.cells {
		if c != 0 {
			k.set[i/sketchColumns]++
		}
	}
	return k
}
