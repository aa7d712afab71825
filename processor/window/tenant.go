package window

import (
	"slices"
	"time"

	"keypulse/rules"
	"keypulse/schema"
)

// tenant is what a store knows of one tenant: the layout of its keys, and the keys in the order of their last events.
type tenant struct {
	name    schema.Tenant
	index   uint32 // in the store's order
	changed bool   // the layout, since the last AppendChanges
	layout
	version uint32 // of the layout

	// For the set that is in force:
	set      *rules.Set
	numbers  []aggregate // by the set's numbers
	bySource [][]*plan   // of the series of each of the set's sources

	keys names
	// The list from the oldest key to the newest. The oldest ones may be at rest; awake is the first that is not.
	oldest, awake, newest uint32

	round  uint64
	values []cachedValue // by the set's numbers
}

// layout says which series the keys of a tenant have. A series has a slot, and so has an aggregate: numbers that are never given
// twice, so that state of what was dropped is never taken for that of something else.
type layout struct {
	series     map[uint32]*plan // by slot
	aggregates map[string]place // by [rules.Aggregate.Key]
	nextSlot   uint32           // of an aggregate
	nextSeries uint32
	longest    schema.Millis // window
}

// place is where an aggregate is kept.
type place struct{ slot, series uint32 }

// plan is what a series is kept for.
type plan struct {
	slot    uint32
	last    uint16 // where the last key had the series; most keys have it there
	shape   entryShape
	longest schema.Millis // how far back the series reaches: it never changes
	views   []viewPlan    // its aggregates
}

// viewPlan is an aggregate of a series.
type viewPlan struct {
	key    string
	slot   uint32
	number int // the set's
	call   rules.Call
	window schema.Millis
}

// aggregate says where an aggregate of the set is looked up.
type aggregate struct {
	*plan
	source int // the set's
	view   int // in plan.views
}

// cachedValue is the value of an aggregate for the event of a round.
type cachedValue struct {
	round uint64
	value rules.Value
}

func newTenant(name schema.Tenant) *tenant {
	return &tenant{name: name, layout: newLayout(), oldest: none, awake: none, newest: none}
}

func newLayout() layout {
	return layout{series: map[uint32]*plan{}, aggregates: map[string]place{}}
}

// adopt makes set the tenant's. What it shares with the last one keeps its slots and stays in its series. A new aggregate joins a
// series of its source that reaches back far enough, and knows what that knows; otherwise it gets a new one, and starts empty.
func (t *tenant) adopt(set *rules.Set) {
	last := t.layout
	t.layout = newLayout()
	t.nextSlot, t.nextSeries, t.longest = last.nextSlot, last.nextSeries, millis(set.LongestWindow())
	t.set, t.values = set, make([]cachedValue, len(set.Aggregates()))
	t.numbers, t.bySource = make([]aggregate, len(set.Aggregates())), make([][]*plan, len(set.Sources()))
	for _, fresh := range []bool{false, true} {
		for i, source := range set.Sources() {
			for _, number := range source {
				a := set.Aggregates()[number]
				at, known := last.aggregates[a.Key()]
				switch {
				case fresh == known:
				case known:
					t.join(t.keep(last.series[at.series]), at.slot, number, i)
				default:
					t.join(t.seriesFor(i, a, last.nextSeries), t.nextSlot, number, i)
					t.nextSlot++
				}
			}
		}
	}
	t.version++
}

// keep returns the plan of a series of the last layout in this one.
func (t *tenant) keep(last *plan) *plan {
	p := t.series[last.slot]
	if p == nil {
		p = &plan{slot: last.slot, last: last.last, shape: last.shape, longest: last.longest}
		t.series[p.slot] = p
	}
	return p
}

// seriesFor returns the plan of the series that a new aggregate of source i joins. Those from slot fresh on are new.
func (t *tenant) seriesFor(i int, a *rules.Aggregate, fresh uint32) *plan {
	window := millis(a.Window)
	for _, p := range t.bySource[i] {
		if p.shape == shape(a.Call) && (p.longest >= window || p.slot >= fresh) {
			p.longest = max(p.longest, window)
			return p
		}
	}
	p := &plan{slot: t.nextSeries, last: uint16(len(t.series)), shape: shape(a.Call), longest: window}
	t.series[p.slot] = p
	t.nextSeries++
	return p
}

// join makes aggregate number, of source i, one of the series' aggregates.
func (t *tenant) join(p *plan, slot uint32, number, i int) {
	if !slices.Contains(t.bySource[i], p) {
		t.bySource[i] = append(t.bySource[i], p)
	}
	a := t.set.Aggregates()[number]
	t.numbers[number] = aggregate{p, i, len(p.views)}
	t.aggregates[a.Key()] = place{slot, p.slot}
	p.views = append(p.views, viewPlan{a.Key(), slot, number, a.Call, millis(a.Window)})
}

// idle reports whether all windows of the key have been empty for the grace period, by the partition's clock.
func (t *tenant) idle(k *key, latest schema.Millis) bool {
	return latest > k.clock+t.longest+idleGrace
}

func millis(d time.Duration) schema.Millis { return schema.Millis(d / time.Millisecond) }

// entryShape is what the entries of a series hold.
type entryShape uint8

const (
	times   entryShape = iota // of events: count, rate
	numbers                   // with their times: sum, avg, min, max, stddev
	hashes                    // of values, with the times when they were seen last: distinct, first_seen
	stamp                     // nothing: since_last needs the time of the last event
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
