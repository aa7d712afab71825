package window

import (
	"maps"
	"slices"
	"unsafe"

	"keypulse/internal/varint"
	"keypulse/rules"
	"keypulse/schema"
)

// The layouts of tenants and the series of keys as bytes: what changes are made of. A key is written with what its windows hold, and
// nothing of how it lies in memory. One that is restored answers every later event as the one that was written would, to the
// last bit. Entries are written as they are: whoever reads them must have the same order of bytes.

// codecVersion is of the format. Other versions are not read: see DESIGN.md, checkpoints.
const codecVersion = 4 << 8

// appendLayout appends a tenant's layout.
func appendLayout(b []byte, name schema.Tenant, l *layout) []byte {
	b = varint.AppendString(b, name)
	b = varint.AppendUint(b, l.nextSlot)
	b = varint.AppendUint(b, l.nextSeries)
	b = varint.AppendInt(b, l.longest)
	b = varint.AppendUint(b, uint64(len(l.series)))
	for _, slot := range slices.Sorted(maps.Keys(l.series)) {
		p := l.series[slot]
		b = varint.AppendUint(b, slot)
		b = varint.AppendInt(b, p.longest)
		b = varint.AppendUint(b, uint64(len(p.views)))
		for _, v := range p.views {
			b = varint.AppendString(b, v.key)
			b = varint.AppendUint(b, v.slot)
			b = varint.AppendUint(b, uint64(v.call))
			b = varint.AppendInt(b, v.window)
		}
	}
	return b
}

func readLayout(r *varint.Reader) (name schema.Tenant, l layout) {
	l, name = newLayout(), schema.Tenant(r.String())
	l.nextSlot, l.nextSeries, l.longest = uint32(r.Uint()), uint32(r.Uint()), schema.Millis(r.Int())
	for range r.Count(4) {
		p := &plan{slot: uint32(r.Uint()), last: uint16(len(l.series)), longest: schema.Millis(r.Int())}
		for range r.Count(4) {
			v := viewPlan{key: r.String(), slot: uint32(r.Uint()), call: rules.Call(r.Up(uint64(rules.SinceLast))), window: schema.Millis(r.Int())}
			p.shape = shape(v.call)
			p.views = append(p.views, v)
			l.aggregates[v.key] = place{v.slot, p.slot}
		}
		l.series[p.slot] = p
	}
	return name, l
}

// appendSeries appends the key's clock and its series, without those of aggregates that the tenant has dropped and without what
// has left all windows.
func (s *Store) appendSeries(b []byte, k *key, t *tenant) []byte {
	b = varint.AppendInt(b, k.clock)
	list := k.series(&s.rooms)
	for i := range list {
		if p := t.series[list[i].slot]; p != nil {
			o := s.rooms.open(&list[i], p)
			b = o.write(b, k.clock)
		}
	}
	return varint.AppendBool(b, false)
}

// write appends a mark and the series; nothing when it holds nothing.
func (s *opened) write(b []byte, clock schema.Millis) []byte {
	n := s.held(clock)
	if n == 0 {
		return b
	}
	b = varint.AppendBool(b, true)
	b = varint.AppendUint(b, s.slot)
	b = varint.AppendInt(b, clock-s.newest)
	if s.shape == stamp {
		return b
	}
	b = varint.AppendUint(b, uint64(n))
	b = s.writeEntries(b, n)
	merged := len(b)
	b = append(b, 0)
	for i := range s.list {
		v := &s.list[i]
		j := slices.IndexFunc(s.plan.views, func(p viewPlan) bool { return p.slot == v.slot }) // the key may have views of a layout before
		if v.merged == 0 || j < 0 {
			continue
		}
		if m := s.rooms.merged[v.merged]; s.holdsMerged(v, &s.plan.views[j], clock) {
			b = m.append(varint.AppendInt(b, j), s.shape)
			b[merged] = 1
		}
	}
	if b[merged] == 1 {
		b = varint.AppendInt(b, -1)
	}
	return b
}

// holdsMerged reports whether the window of a view holds anything of what it has merged.
func (s *opened) holdsMerged(v *view, p *viewPlan, clock schema.Millis) bool {
	m := s.rooms.merged[v.merged]
	if m.sketch != nil {
		return m.sketch.lost > clock-p.window
	}
	return s.age(m.slices[len(m.slices)-1].last) < s.reach(clock, p.window)
}

// held is how many entries the longest window holds.
func (s *opened) held(clock schema.Millis) int {
	switch {
	case s.shape == stamp:
		return int(s.n)
	case s.table:
		n, reach := 0, s.reach(clock, s.plan.longest)
		s.eachValue(func(low uint32, _ uint64) {
			if s.age(low) < reach {
				n++
			}
		})
		return n
	default:
		return int(s.n) - s.begin(clock, s.plan.longest)
	}
}

// writeEntries appends the newest n entries.
func (s *opened) writeEntries(b []byte, n int) []byte {
	if s.table {
		skip := int(s.n) - n
		s.eachValue(func(low uint32, hash uint64) {
			if skip--; skip < 0 {
				b = append(b, bytesOf([]uint32{low, uint32(hash >> 32), uint32(hash)})...)
			}
		})
		return b
	}
	older, newer := s.runs(int(s.n) - n)
	b = append(b, bytesOf(older)...)
	return append(b, bytesOf(newer)...)
}

// bytesOf is the memory of the words.
func bytesOf(words []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), wordBytes*len(words))
}

// readSeries reads what appendSeries wrote into a key without series.
func (s *Store) readSeries(r *varint.Reader, k *key, t *tenant) {
	k.clock = schema.Millis(r.Int())
	list := s.scratch[:0]
	for r.Bool() {
		p := t.series[uint32(r.Uint())]
		if p == nil || len(list) > 0 && list[len(list)-1].slot >= p.slot {
			r.Fail()
			break
		}
		list = append(list, series{slot: p.slot, shape: p.shape, newest: k.clock - schema.Millis(r.Int())})
		o := s.rooms.open(&list[len(list)-1], p)
		o.read(r, k.clock)
	}
	if s.scratch = list; len(list) > 0 {
		s.resize(k, len(list))
		k.n = uint16(len(list))
		copy(k.series(&s.rooms), list)
	}
}

// read reads the entries of a series, which has none, and what is merged. What a damaged input claims is checked before it takes room.
func (s *opened) read(r *varint.Reader, clock schema.Millis) {
	if s.shape == stamp {
		s.n = 1
		return
	}
	most := maxRing
	if s.shape == hashes {
		most = maxExact
	}
	n := int(r.Up(uint64(most)))
	words := r.Take(wordBytes * n * s.words())
	merged := r.Bool()
	if n == 0 || r.Err() != nil || merged && n < maxExact/2 {
		r.Fail()
		return
	}
	size := 1
	for size < n || merged && size < rowSize {
		size *= 2
	}
	s.newRoom(size, false)
	copy(bytesOf(s.entries), words)
	s.n = uint16(n)
	switch {
	case size < viewedSize:
	case s.shape == hashes && !merged:
		s.makeTable(clock)
	default:
		s.makeViews(clock)
	}
	for merged {
		i := r.Int()
		if i < 0 || i >= int64(s.nviews) || r.Err() != nil || s.list[i].merged != 0 {
			if i != -1 {
				r.Fail()
			}
			return
		}
		s.readMerged(r, int(i), clock)
	}
}

// readMerged reads what view i has merged.
func (s *opened) readMerged(r *varint.Reader, i int, clock schema.Millis) {
	v, p := &s.list[i], &s.plan.views[i]
	m := readMerged(r, s.shape)
	if r.Err() != nil || (m.sketch != nil) != (p.call == rules.Distinct) {
		r.Fail()
		return
	}
	s.rooms.setMerged(v, m)
	if m.sketch != nil {
		return
	}
	v.edge = m.slices[0].last
	for j := range m.slices {
		v.sliced += uint64(m.slices[j].n)
		if s.shape == numbers && p.call != rules.Min && p.call != rules.Max {
			v.total.plus(&m.totals[j].sum)
			v.wild += m.slices[j].wild
		}
	}
	if p.call == rules.Min || p.call == rules.Max {
		s.findExtreme(v, p, clock)
	}
}
