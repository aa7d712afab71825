package window

import (
	"time"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

// maxExact is how many events, or different values, a window holds before it may merge the oldest.
const maxExact = 1000

// state is one aggregate of one key. What entries hold depends on the call: the time of an event (count, rate), time
// and number (sum, avg, min, max, stddev), hash and time of a value (distinct, first_seen), nothing (since_last).
//
// Times in entries are the low 32 bits of milliseconds: all are at most a window, 30 days, before newest, which is
// less than the 49 days that 32 bits tell apart.
type state struct {
	slot    uint32
	head, n uint16        // the entries that are used
	newest  schema.Millis // effective time of the last matching event
	entries []uint32
	merged  *merged // what is beyond maxExact; nil while there is nothing
}

const stateBytes = int(unsafe.Sizeof(state{}))

// bytes is the memory behind the state.
func (s *state) bytes() int {
	sum := 4 * cap(s.entries)
	if s.merged != nil {
		sum += s.merged.bytes()
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
	a, t, now := s.set.Aggregates()[i], s.last, s.key.clock
	window := millis(a.Window)
	var v rules.Value
	if shape(a.Call) != times {
		v = s.set.ValueOf(i, values)
		if skips(a.Call, v) {
			return
		}
	}
	st, grown := s.key.findOrAdd(t.slots[i])
	before := st.bytes()
	switch shape(a.Call) {
	case times:
		st.count(now, window)
	case numbers:
		x, _ := v.Number()
		st.add(now, window, x, a.Call == rules.Stddev)
	case hashes:
		hash := v.Hash()
		if a.Call == rules.FirstSeen {
			s.remember(i, rules.Bool(!st.seen(now, window, hash)))
		}
		st.see(now, window, hash, a.Call == rules.Distinct)
	case stamp:
		s.remember(i, sinceLast(st, now))
		st.newest, st.n = now, 1
	}
	s.bytes += grown + st.bytes() - before
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
func skips(c rules.Call, v rules.Value) bool {
	switch shape(c) {
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
	a, now := s.set.Aggregates()[i], s.key.clock
	window := millis(a.Window)
	var v rules.Value
	if a.Call == rules.FirstSeen {
		if v = s.set.ValueOf(i, s.scope.Values()); v.IsNil() {
			return rules.Bool(false)
		}
	}
	st := s.key.find(s.last.slots[i])
	switch {
	case st == nil && a.Call == rules.FirstSeen:
		return rules.Bool(true)
	case st == nil:
		return a.Empty()
	}
	// Looking may free what has left the window.
	before := st.bytes()
	defer func() { s.bytes += st.bytes() - before }()
	switch a.Call {
	case rules.Count:
		return rules.Int(int64(st.counted(now, window)))
	case rules.Rate:
		return rules.Float(float64(st.counted(now, window)) / a.Window.Seconds())
	case rules.Distinct:
		return rules.Int(int64(st.distinct(now, window)))
	case rules.FirstSeen:
		return rules.Bool(!st.seen(now, window, v.Hash()))
	case rules.SinceLast:
		return sinceLast(st, now)
	default:
		return st.summary(now, window, a.Call == rules.Stddev).value(a.Call)
	}
}

// sinceLast is the time from the last matching event to now in seconds; nil when there was none.
func sinceLast(st *state, now schema.Millis) rules.Value {
	if st.n == 0 || now-st.newest >= sinceLastSpan {
		return rules.Value{}
	}
	return rules.Float(float64(now-st.newest) / 1000)
}
