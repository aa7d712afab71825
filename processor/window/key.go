package window

import (
	"slices"
	"time"
	"unsafe"

	"keypulse/rules"
	"keypulse/schema"
)

// none is no key in a list of keys.
const none = ^uint32(0)

const sinceLastSpan = schema.Millis(rules.SinceLastSpan / time.Millisecond)

// tenant is what a store knows of one tenant: the layout of its keys' states, and the keys in the order of their
// last events.
type tenant struct {
	name    schema.Tenant
	index   uint32 // in the store's order
	changed bool   // the layout, since the last AppendChanges

	// The layout: each aggregate has a slot, a number that is never given twice, so that state of an aggregate that
	// was dropped is never taken for that of another.
	set      *rules.Set
	slots    []uint32          // by the set's numbers
	byKey    map[string]uint32 // by [rules.Aggregate.Key]
	live     map[uint32]rules.Call
	nextSlot uint32
	layout   uint32 // changes when a slot is dropped
	longest  schema.Millis

	keys map[string]uint32
	// The list from the oldest key to the newest. The oldest ones may be at rest; awake is the first that is not.
	oldest, awake, newest uint32

	round  uint64
	values []cachedValue // by the set's numbers
}

// cachedValue is the value of an aggregate for the event of a round.
type cachedValue struct {
	round uint64
	value rules.Value
}

func newTenant(name schema.Tenant) *tenant {
	return &tenant{
		name: name, byKey: map[string]uint32{}, live: map[uint32]rules.Call{}, keys: map[string]uint32{},
		oldest: none, awake: none, newest: none,
	}
}

// adopt makes set the tenant's: aggregates that it shares with the last one keep their slots.
func (t *tenant) adopt(set *rules.Set) {
	aggregates := set.Aggregates()
	byKey, live := make(map[string]uint32, len(aggregates)), make(map[uint32]rules.Call, len(aggregates))
	t.set, t.slots, t.values = set, make([]uint32, len(aggregates)), make([]cachedValue, len(aggregates))
	kept := 0
	for i, a := range aggregates {
		slot, ok := t.byKey[a.Key()]
		if ok {
			kept++
		} else {
			slot = t.nextSlot
			t.nextSlot++
		}
		t.slots[i], byKey[a.Key()], live[slot] = slot, slot, a.Call
	}
	if kept < len(t.byKey) {
		t.layout++
	}
	t.byKey, t.live = byKey, live
	t.longest = schema.Millis(set.LongestWindow() / time.Millisecond)
}

// idle reports whether all windows of the key have been empty for the grace period, by the partition's clock.
func (t *tenant) idle(k *key, latest schema.Millis) bool {
	return latest > k.clock+t.longest+idleGrace
}

// key is the state of one key. It holds no pointer into a rule or a set.
type key struct {
	name         string
	clock        schema.Millis // the largest created_at so far
	states       []state       // by rising slot; an aggregate that never matched has none
	used         int64         // the number of its last event in the store: the order of the tenant's list
	older, newer uint32        // in the tenant's list
	tenant       uint32        // in the store's order
	layout       uint32        // of the tenant, when the states were last looked through
	resting      bool          // idle: only since_last has states
	changed      bool          // since the last AppendChanges
}

// perKey is what a key costs besides its states and its name: the struct and its place in the tenant's map.
const perKey = int(unsafe.Sizeof(key{})) + 32

func (k *key) bytes() int {
	sum := perKey + len(k.name) + cap(k.states)*stateBytes
	for i := range k.states {
		sum += k.states[i].bytes()
	}
	return sum
}

// find returns the state in the slot, nil when there is none. It is valid until the next state is added.
func (k *key) find(slot uint32) *state {
	i, ok := k.search(slot)
	if !ok {
		return nil
	}
	return &k.states[i]
}

func (k *key) search(slot uint32) (int, bool) {
	low, high := 0, len(k.states)
	for low < high {
		middle := (low + high) / 2
		if k.states[middle].slot < slot {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(k.states) && k.states[low].slot == slot
}

// findOrAdd returns the state in the slot, and by how many bytes the key grew for it. The list grows by small steps:
// most keys touch few aggregates, and there are many keys.
func (k *key) findOrAdd(slot uint32) (*state, int) {
	i, ok := k.search(slot)
	if ok {
		return &k.states[i], 0
	}
	grown := 0
	if len(k.states) == cap(k.states) {
		room := make([]state, len(k.states), len(k.states)+1+len(k.states)/4)
		copy(room, k.states)
		grown = (cap(room) - cap(k.states)) * stateBytes
		k.states = room
	}
	k.states = slices.Insert(k.states, i, state{slot: slot})
	return &k.states[i], grown
}

// prune drops the states of aggregates that are no longer in the tenant's set and returns the bytes that it freed.
func (k *key) prune(t *tenant) int {
	k.layout = t.layout
	return k.keep(func(s *state) bool {
		_, ok := t.live[s.slot]
		return ok
	})
}

// rest drops what an idle key does not need and returns the bytes that it freed: the time stamps of since_last stay.
func (k *key) rest(t *tenant) int {
	return k.keep(func(s *state) bool { return t.live[s.slot] == rules.SinceLast })
}

func (k *key) keep(f func(*state) bool) (freed int) {
	before := k.bytes()
	var kept []state
	for i := range k.states {
		if f(&k.states[i]) {
			kept = append(kept, k.states[i])
		}
	}
	k.states = slices.Clip(kept)
	return before - k.bytes()
}

// forgotten reports whether nothing that a key at rest remembers can matter any more.
func (k *key) forgotten(latest schema.Millis) bool { return latest >= k.clock+sinceLastSpan }

// slab holds the keys in chunks: numbers instead of pointers keep the lists small.
type slab struct {
	chunks [][]key
	free   []uint32
	used   int
}

const chunkKeys = 256

func (s *slab) at(number uint32) *key { return &s.chunks[number/chunkKeys][number%chunkKeys] }

// take returns the number of a free key.
func (s *slab) take() uint32 {
	s.used++
	if n := len(s.free); n > 0 {
		number := s.free[n-1]
		s.free = s.free[:n-1]
		return number
	}
	number := uint32(s.used - 1)
	if number%chunkKeys == 0 {
		s.chunks = append(s.chunks, make([]key, chunkKeys))
	}
	return number
}

func (s *slab) release(number uint32) {
	*s.at(number) = key{}
	s.free = append(s.free, number)
	s.used--
}
