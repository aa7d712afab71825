package window

// rooms is where the series of all keys of a store are, their entries, their views, and what is merged.
type rooms struct {
	series  arena[series]
	entries arena[uint32]
	views   arena[view]

	merged      []*merged // by number; 0 is none
	free        []uint32  // numbers that nothing has
	mergedBytes int
}

// bytes is the memory that is given out.
func (r *rooms) bytes() int {
	return r.series.used*seriesBytes + r.entries.used*wordBytes + r.views.used*viewBytes + r.mergedBytes
}

// close gives back all that the series has.
func (r *rooms) close(s *series) {
	o := r.open(s, nil)
	o.dropViews()
	o.setRoom(0, false)
}

// setMerged makes m, or nothing, what the view has merged.
func (r *rooms) setMerged(v *view, m *merged) {
	if v.merged != 0 {
		r.mergedBytes -= r.merged[v.merged].bytes()
		r.merged[v.merged] = nil
		r.free = append(r.free, v.merged)
		v.merged, v.sliced = 0, 0
	}
	if m == nil {
		return
	}
	r.mergedBytes += m.bytes()
	if n := len(r.free); n > 0 {
		v.merged = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		if len(r.merged) == 0 {
			r.merged = append(r.merged, nil)
		}
		v.merged = uint32(len(r.merged))
		r.merged = append(r.merged, nil)
	}
	r.merged[v.merged] = m
}

func (r *rooms) closeAll() {
	r.series.close()
	r.entries.close()
	r.views.close()
}
