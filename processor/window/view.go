package window

import (
	"math"
	"slices"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

// view is what one aggregate knows of a large series: where its window begins, and the sum of what is in it. But for what is merged
// it follows from the entries: a value is the same whether there is a view or not.
type view struct {
	// For sum, avg and stddev the sum of the window's numbers, slices included, but for those that are wild. For min and max the bits
	// of the extreme, and the time that it is of.
	total  exact
	sliced uint64 // events in slices
	wild   uint32 // numbers in the window that total leaves out
	from   uint32 // how many entries, from the oldest on, have left the window; in a table the place of the oldest in it
	live   uint32 // values in the window, in a table
	slot   uint32 // of the aggregate
	merged uint32 // the number of what is merged; 0 for nothing
	edge   uint32 // the time of the oldest slice's last event; in a table of the oldest value in the window
}

const viewBytes = int(unsafe.Sizeof(view{}))

// take adds a number.
func (v *view) take(x float64) {
	if !v.total.add(x) {
		v.wild++
	}
}

// leave takes away a number that has left the window.
func (v *view) leave(x float64) {
	if !v.total.sub(x) {
		v.wild--
	}
}

// extreme is the smallest or the largest number of the window, unless that has left it.
func (v *view) extreme() float64 { return math.Float64frombits(v.total[0]) }

// offer makes a number the extreme if it is one.
func (v *view) offer(x float64, now schema.Millis, extreme bool) {
	if extreme {
		v.total[0], v.total[1] = math.Float64bits(x), uint64(uint32(now))
	}
}

// makeViews gives a series that has grown large its views.
func (s *opened) makeViews(now schema.Millis) {
	n := len(s.plan.views)
	s.nviews, s.views = uint16(n), s.rooms.views.take(n)
	s.list = s.rooms.views.at(s.views, n)
	for i := range s.list {
		s.list[i] = view{slot: s.plan.views[i].slot}
		s.fillView(i, now)
	}
}

// fillView makes view i, which has nothing merged, from the entries.
func (s *opened) fillView(i int, now schema.Millis) {
	v, p := &s.list[i], &s.plan.views[i]
	if s.table {
		s.fillTableView(v, s.reach(now, p.window))
		return
	}
	from := s.begin(now, p.window)
	v.from = uint32(from)
	switch p.call {
	case rules.Min, rules.Max:
		s.findExtreme(v, p, now)
	case rules.Sum, rules.Avg, rules.Stddev:
		for ; from < int(s.n); from++ {
			v.take(number(s.at(from)))
		}
	default:
	}
}

// dropViews gives the views back with what they have merged.
func (s *opened) dropViews() {
	if s.nviews == 0 {
		return
	}
	for i := range s.list {
		s.rooms.setMerged(&s.list[i], nil)
	}
	s.rooms.views.give(s.views, int(s.nviews))
	s.nviews, s.views, s.list = 0, 0, nil
}

// replan gives the series the views of its plan; those of aggregates that it had before stay.
func (s *opened) replan(now schema.Millis) {
	same := len(s.list) == len(s.plan.views)
	for i := 0; same && i < len(s.list); i++ {
		same = s.list[i].slot == s.plan.views[i].slot
	}
	if same {
		return
	}
	old, block := s.list, s.views
	s.makeViews(now)
	for i := range old {
		if j := slices.IndexFunc(s.list, func(v view) bool { return v.slot == old[i].slot }); j >= 0 {
			s.list[j] = old[i]
		} else {
			s.rooms.setMerged(&old[i], nil)
		}
	}
	s.rooms.views.give(block, len(old))
	if s.shape == hashes && !s.table {
		s.expireSketches(now) // the last sketch may be gone
	}
}

// advance moves view i to the time now: what has left its window leaves the view.
func (s *opened) advance(i int, now schema.Millis) {
	v, p := &s.list[i], &s.plan.views[i]
	reach := s.reach(now, p.window)
	if s.table {
		s.leaveTable(v, reach)
		return
	}
	if v.sliced > 0 && !s.expire(v, p, reach) {
		return // no entry has left before the last slice
	}
	from := int(v.from)
	for ; from < int(s.n); from++ {
		e := s.at(from)
		if s.age(e[0]) < reach {
			break
		}
		switch p.call {
		case rules.Sum, rules.Avg, rules.Stddev:
			v.leave(number(e))
		default:
		}
	}
	v.from = uint32(from)
}

func (s *opened) advanceAll(now schema.Millis) {
	for i := range s.list {
		s.advance(i, now)
	}
}

// findExtreme looks for the smallest or the largest number of the window.
func (s *opened) findExtreme(v *view, p *viewPlan, now schema.Millis) {
	sign := 1.0
	if p.call == rules.Min {
		sign = -1
	}
	best, at := math.Inf(-1), uint32(s.newest)-math.MaxInt32
	if v.sliced > 0 {
		best, at = s.rooms.merged[v.merged].extreme(sign)
	}
	for i := s.begin(now, p.window); i < int(s.n); i++ {
		e := s.at(i)
		if x := sign * number(e); x >= best {
			best, at = x, e[0]
		}
	}
	v.total[0], v.total[1] = math.Float64bits(sign*best), uint64(at)
}
