package window

import (
	"time"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

// maxExact is how many events, or different values, a window holds before it may merge the oldest.
const maxExact = 1000

// state is one aggregate of one key; its entries are in the store's rooms. What they hold depends on the call: the time of
// an event (count, rate), time and number (sum, avg, min, max, stddev), hash and time of a value (distinct, first_seen),
// nothing (since_last).
//
// Times in entries are the low 32 bits of milliseconds: all are at most a window, 30 days, before newest, which is
// less than the 49 days that 32 bits tell apart.
type state struct {
	newest  schema.Millis // effective time of the last matching event
	slot    uint32
	oldest  uint32 // the time of the oldest entry, while there is one: most events need not look at the entries
	block   uint32 // of the entries
	extra   uint32 // the number of what is merged; 0 for nothing
	head, n uint16 // the entries that are used
	room    uint16 // in words
}

const (
	stateBytes = int(unsafe.Sizeof(state{}))
	wordBytes  = 4
)

// bytes is the memory behind the state.
func (s *state) bytes(r *rooms) int {
	sum := 0
	if s.room > 0 {
		_, size := class(int(s.room))
		sum = wordBytes * size
	}
	if s.extra != 0 {
		sum += r.merged[s.extra].bytes()
	}
	return sum
}

// time restores a time from its low bits.
func (s *state) time(low uint32) schema.Millis {
	return s.newest - schema.Millis(uint32(s.newest)-low)
}

func millis(d time.Duration) schema.Millis { return schema.Millis(d / time.Millisecond) }

// update lets aggregate i count the event that is observed.
func (s *Store) update(i int, values rules.Values) {
	t, now := s.last, s.key.clock
	p := &t.plans[i]
	var v rules.Value
	if p.shape != times {
		v = s.set.ValueOf(i, values)
		if skips(p.shape, v) {
			return
		}
	}
	st := s.rooms.open(s.findOrAdd(s.key, p))
	switch p.shape {
	case times:
		st.count(now, p.window)
	case numbers:
		x, _ := v.Number()
		st.add(now, p.window, x, p.call == rules.Stddev)
	case hashes:
		hash := v.Hash()
		if p.call == rules.FirstSeen {
			s.remember(i, rules.Bool(!st.seen(now, p.window, hash)))
		}
		st.see(now, p.window, hash, p.call == rules.Distinct)
	case stamp:
		s.remember(i, sinceLast(st.state, now))
		st.newest, st.n = now, 1
	}
}

// entryShape is what a call's entries hold.
type entryShape uint8

const (
	times entryShape = iota
	numbers
	hashes
	stamp
)

func shape(c rules.Call) entryShape {
	switch c {
	case rules.Count, rules.Rate:
		return times
	case rules.Distinct, rules.FirstSeen:
		return hashes
	case rules.SinceLast:
		return stamp
	default:
		return numbers
	}
}

// skips reports whether an aggregate leaves the value out.
func skips(s entryShape, v rules.Value) bool {
	switch s {
	case numbers:
		_, ok := v.Number()
		return !ok
	case hashes:
		return v.IsNil()
	default:
		return false
	}
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
	p, now := &s.last.plans[i], s.key.clock
	var v rules.Value
	if p.call == rules.FirstSeen {
		if v = s.set.ValueOf(i, s.scope.Values()); v.IsNil() {
			return rules.Bool(false)
		}
	}
	found := s.find(s.key, p)
	switch {
	case found == nil && p.call == rules.FirstSeen:
		return rules.Bool(true)
	case found == nil:
		return s.set.Aggregates()[i].Empty()
	}
	st := s.rooms.open(found)
	switch p.call {
	case rules.Count:
		return rules.Int(int64(st.counted(now, p.window)))
	case rules.Rate:
		return rules.Float(float64(st.counted(now, p.window)) / s.set.Aggregates()[i].Window.Seconds())
	case rules.Distinct:
		return rules.Int(int64(st.distinct(now, p.window)))
	case rules.FirstSeen:
		return rules.Bool(!st.seen(now, p.window, v.Hash()))
	case rules.SinceLast:
		return sinceLast(found, now)
	default:
		sum := st.summary(now, p.window, p.call == rules.Stddev)
		return sum.value(p.call)
	}
}

// sinceLast is the time from the last matching event to now in seconds; nil when there was none.
func sinceLast(st *state, now schema.Millis) rules.Value {
	if st.n == 0 || now-st.newest >= sinceLastSpan {
		return rules.Value{}
	}
	return rules.Float(float64(now-st.newest) / 1000)
}
