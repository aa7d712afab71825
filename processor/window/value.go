package window

import (
	"math"

	"keypulse/rules"
	"keypulse/schema"
)

// update lets the aggregates over source i count the event that is observed.
func (s *Store) update(i int, values rules.Values) {
	t, now := s.last, s.key.clock
	var v rules.Value
	for n, p := range t.bySource[i] {
		if n == 0 && p.shape != times {
			v = s.set.ValueOf(i, values)
		}
		if p.skips(v) {
			continue
		}
		o := s.rooms.open(s.findOrAdd(s.key, p), p)
		switch p.shape {
		case times:
			o.count(now)
		case numbers:
			x, _ := v.Number()
			o.add(now, x)
		case hashes:
			s.see(&o, now, valueHash(v))
		case stamp:
			s.remember(p.views[0].number, sinceLast(o.series, now))
			o.newest, o.n = now, 1
		}
	}
}

// skips reports whether the aggregates over the series leave the value out.
func (p *plan) skips(v rules.Value) bool {
	switch p.shape {
	case numbers:
		_, ok := v.Number()
		return !ok
	case hashes:
		return v.IsNil()
	default:
		return false
	}
}

// see notes that a value was seen. What first_seen says of it has to be known before.
func (s *Store) see(o *opened, now schema.Millis, hash uint64) {
	o.expireValues(now)
	place := o.lookUp(hash)
	for i := range o.plan.views {
		if p := &o.plan.views[i]; p.call == rules.FirstSeen {
			s.remember(p.number, rules.Bool(!o.holds(place, now, p.window)))
		}
	}
	o.see(now, hash, place)
}

// remember keeps a value that has to be computed before the event counts.
func (s *Store) remember(i int, v rules.Value) {
	s.last.values[i] = cachedValue{s.last.round, v}
}

// value is the value of aggregate i for the event that is observed.
func (s *Store) value(i int) rules.Value {
	c := &s.last.values[i]
	if c.round != s.last.round {
		c.round, c.value = s.last.round, s.compute(i)
	}
	return c.value
}

func (s *Store) compute(i int) rules.Value {
	a, now := &s.last.numbers[i], s.key.clock
	p := &a.views[a.view]
	var v rules.Value
	if p.call == rules.FirstSeen {
		if v = s.set.ValueOf(a.source, s.scope.Values()); v.IsNil() {
			return rules.Bool(false)
		}
	}
	found := s.find(s.key, a.plan)
	switch {
	case found == nil && p.call == rules.FirstSeen:
		return rules.Bool(true)
	case found == nil:
		return s.set.Aggregates()[i].Empty()
	}
	o := s.rooms.open(found, a.plan)
	switch p.call {
	case rules.Count:
		return rules.Int(o.counted(a.view, now))
	case rules.Rate:
		return rules.Float(float64(o.counted(a.view, now)) / s.set.Aggregates()[i].Window.Seconds())
	case rules.Distinct:
		return rules.Int(o.distinct(a.view, now))
	case rules.FirstSeen:
		place := o.lookUp(valueHash(v))
		return rules.Bool(!o.holds(place, now, p.window))
	case rules.SinceLast:
		return sinceLast(found, now)
	case rules.Min, rules.Max:
		return o.extreme(a.view, now)
	default:
		return o.summed(a.view, now)
	}
}

// sinceLast is the time from the last matching event to now in seconds; nil when there was none.
func sinceLast(s *series, now schema.Millis) rules.Value {
	if s.n == 0 || now-s.newest >= sinceLastSpan {
		return rules.Value{}
	}
	return rules.Float(float64(now-s.newest) / 1000)
}

// counted is the number of events in the window of view i.
func (s *opened) counted(i int, now schema.Millis) int64 {
	if s.nviews == 0 {
		return int64(int(s.n) - s.begin(now, s.plan.views[i].window))
	}
	s.advance(i, now)
	v := &s.list[i]
	return int64(uint64(s.n) - uint64(v.from) + v.sliced)
}

// extreme is the smallest or largest number in the window of view i.
func (s *opened) extreme(i int, now schema.Millis) rules.Value {
	p := &s.plan.views[i]
	reach := s.reach(now, p.window)
	if reach == 0 || s.n == 0 {
		return rules.Value{}
	}
	if s.nviews == 0 {
		var v view
		s.findExtreme(&v, p, now)
		return rules.Float(v.extreme())
	}
	v := &s.list[i]
	if s.age(uint32(v.total[1])) >= reach {
		if v.sliced > 0 {
			s.expire(v, p, reach)
		}
		s.findExtreme(v, p, now)
	}
	return rules.Float(v.extreme())
}

// summed is the sum, the mean or the standard deviation of the numbers in the window of view i.
func (s *opened) summed(i int, now schema.Millis) rules.Value {
	p := &s.plan.views[i]
	if s.nviews == 0 {
		var v view
		v.from = uint32(s.begin(now, p.window))
		for from := int(v.from); from < int(s.n); from++ {
			v.take(number(s.at(from)))
		}
		return s.valueOf(&v, p.call)
	}
	s.advance(i, now)
	return s.valueOf(&s.list[i], p.call)
}

func (s *opened) valueOf(v *view, c rules.Call) rules.Value {
	sum, n := v.total.float(), float64(uint64(s.n)-uint64(v.from)+v.sliced)
	if v.wild > 0 {
		sum += s.wildSum(v)
	}
	switch {
	case n == 0 && c == rules.Sum:
		return rules.Int(0)
	case n == 0:
		return rules.Value{}
	case c == rules.Sum:
		return rules.Float(sum)
	case c == rules.Avg:
		return rules.Float(sum / n)
	default:
		return rules.Float(math.Sqrt(s.squares(v, sum/n) / n))
	}
}

// wildSum adds up the numbers that the total leaves out.
func (s *opened) wildSum(v *view) (sum float64) {
	if v.sliced > 0 {
		for _, t := range s.rooms.merged[v.merged].totals {
			sum += t.wild
		}
	}
	for i := int(v.from); i < int(s.n); i++ {
		var one exact
		if x := number(s.at(i)); !one.add(x) {
			sum += x
		}
	}
	return sum
}

// squares adds up the squares of the distances of the window's numbers from their mean. Products are rounded by conversions, so that
// no machine fuses them with the sum.
func (s *opened) squares(v *view, mean float64) (sum float64) {
	if v.sliced > 0 {
		m := s.rooms.merged[v.merged]
		for i := range m.slices {
			n, t := float64(m.slices[i].n), &m.totals[i]
			distance := (t.sum.float()+t.wild)/n - mean
			sum += t.squares + float64(n*float64(distance*distance))
		}
	}
	for i := int(v.from); i < int(s.n); i++ {
		distance := number(s.at(i)) - mean
		sum += float64(distance * distance)
	}
	return sum
}
