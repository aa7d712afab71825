package window

import (
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
	plans    []plan            // by the set's numbers
	byKey    map[string]uint32 // by [rules.Aggregate.Key]
	live     map[uint32]rules.Call
	nextSlot uint32
	layout   uint32 // changes when a slot is dropped
	longest  schema.Millis

	keys names
	// The list from the oldest key to the newest. The oldest ones may be at rest; awake is the first that is not.
	oldest, awake, newest uint32

	round  uint64
	values []cachedValue // by the set's numbers
}

// plan is what it takes to keep an aggregate.
type plan struct {
	window schema.Millis
	slot   uint32
	place  uint16 // where the last key had the state; most keys have it there
	call   rules.Call
	shape  entryShape
}

// cachedValue is the value of an aggregate for the event of a round.
type cachedValue struct {
	round uint64
	value rules.Value
}

func newTenant(name schema.Tenant) *tenant {
	return &tenant{
		name: name, byKey: map[string]uint32{}, live: map[uint32]rules.Call{},
		oldest: none, awake: none, newest: none,
	}
}

// adopt makes set the tenant's: aggregates that it shares with the last one keep their slots.
func (t *tenant) adopt(set *rules.Set) {
	aggregates := set.Aggregates()
	byKey, live := make(map[string]uint32, len(aggregates)), make(map[uint32]rules.Call, len(aggregates))
	t.set, t.plans, t.values = set, make([]plan, len(aggregates)), make([]cachedValue, len(aggregates))
	kept := 0
	for i, a := range aggregates {
		slot, ok := t.byKey[a.Key()]
		if ok {
			kept++
		} else {
			slot = t.nextSlot
			t.nextSlot++
		}
		t.plans[i] = plan{window: millis(a.Window), slot: slot, place: uint16(i), call: a.Call, shape: shape(a.Call)}
		byKey[a.Key()], live[slot] = slot, a.Call
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
	clock        schema.Millis // the largest created_at so far
	used         int64         // the number of its last event in the store: the order of the tenant's list
	name         uint32        // the block of its name
	block        uint32        // of its states, by rising slot; an aggregate that never matched has none
	n, room      uint16        // states
	older, newer uint32        // in the tenant's list
	tenant       uint32        // in the store's order
	layout       uint32        // of the tenant, when the states were last looked through
	nameLen      uint16        // 0 for a key that is released: the number is free
	resting      bool          // idle: only since_last has states
	changed      bool          // since the last AppendChanges
}

// perKey is what a key costs besides its states and its name: the struct and its place in the tenant's table.
const perKey = int(unsafe.Sizeof(key{})) + 16

// fixedBytes is what the key costs besides its states.
func (k *key) fixedBytes() int {
	_, size := class(nameRoom(int(k.nameLen)))
	return perKey + size
}

// bytes is what the key costs with its states.
func (k *key) bytes(r *rooms) int {
	sum := k.fixedBytes()
	if k.room > 0 {
		_, size := class(int(k.room))
		sum += size * stateBytes
	}
	states := k.states(r)
	for i := range states {
		sum += states[i].bytes(r)
	}
	return sum
}

// states are the states of the key. They are valid until one is added or dropped.
func (k *key) states(r *rooms) []state { return r.states.at(k.block, int(k.n)) }

// find returns the state of an aggregate, nil when there is none. It is valid until the next state is added.
func (s *Store) find(k *key, p *plan) *state {
	states := k.states(&s.rooms)
	if place := int(p.place); place < len(states) && states[place].slot == p.slot {
		return &states[place]
	}
	i, ok := search(states, p.slot)
	if !ok {
		return nil
	}
	p.place = uint16(i)
	return &states[i]
}

// search returns the place of the slot among the states, or where it belongs.
func search(states []state, slot uint32) (int, bool) {
	low, high := 0, len(states)
	for low < high {
		middle := (low + high) / 2
		if states[middle].slot < slot {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(states) && states[low].slot == slot
}

// findOrAdd returns the state of an aggregate.
func (s *Store) findOrAdd(k *key, p *plan) *state {
	if found := s.find(k, p); found != nil {
		return found
	}
	i, _ := search(k.states(&s.rooms), p.slot)
	if k.n == k.room {
		s.resize(k, int(k.n)+1)
	}
	k.n++
	states := k.states(&s.rooms)
	copy(states[i+1:], states[i:])
	states[i] = state{slot: p.slot}
	p.place = uint16(i)
	return &states[i]
}

// resize moves the key's states to a room for n, at least as many as there are.
func (s *Store) resize(k *key, n int) {
	old := *k
	if k.block, k.room = 0, 0; n > 0 {
		_, size := class(n)
		k.block, k.room = s.rooms.states.take(n), uint16(size)
		copy(k.states(&s.rooms), old.states(&s.rooms))
	}
	if old.room > 0 {
		s.rooms.states.give(old.block, int(old.room))
	}
}

// prune drops the states of aggregates that are no longer in the tenant's set.
func (s *Store) prune(k *key, t *tenant) {
	k.layout = t.layout
	s.keep(k, func(st *state) bool {
		_, ok := t.live[st.slot]
		return ok
	})
}

// rest drops what an idle key does not need: the time stamps of since_last stay.
func (s *Store) rest(k *key, t *tenant) {
	s.keep(k, func(st *state) bool { return t.live[st.slot] == rules.SinceLast })
}

// keep drops the states for which f is false.
func (s *Store) keep(k *key, f func(*state) bool) {
	states, kept := k.states(&s.rooms), 0
	for i := range states {
		if f(&states[i]) {
			states[kept] = states[i]
			kept++
		} else {
			s.rooms.close(&states[i])
		}
	}
	if k.n = uint16(kept); kept < len(states) {
		s.resize(k, kept)
	}
}

// free gives back all that the key has.
func (s *Store) free(k *key) { s.keep(k, func(*state) bool { return false }) }

// forgotten reports whether nothing that a key at rest remembers can matter any more.
func (k *key) forgotten(latest schema.Millis) bool { return latest >= k.clock+sinceLastSpan }

// slab holds the keys and their names: numbers instead of pointers keep the lists small.
type slab struct {
	keys  arena[key]
	names arena[byte]
	used  int
}

func (s *slab) at(number uint32) *key { return s.keys.one(number) }

// name is the key's name. It is valid until the key is released.
func (s *slab) name(k *key) string {
	return unsafe.String(unsafe.SliceData(s.names.at(k.name, int(k.nameLen))), int(k.nameLen))
}

// nameRoom is the size of the block for a name.
func nameRoom(n int) int { return max(n, linkBytes) }

// take returns the number of a new key with the name, which is not empty and has at most schema.MaxRecordKey bytes.
func (s *slab) take(name string) uint32 {
	s.used++
	number := s.keys.take(1)
	k := s.at(number)
	*k = key{nameLen: uint16(len(name)), name: s.names.take(nameRoom(len(name)))}
	copy(s.names.at(k.name, len(name)), name)
	return number
}

func (s *slab) release(number uint32) {
	k := s.at(number)
	s.names.give(k.name, nameRoom(int(k.nameLen)))
	*k = key{}
	s.keys.give(number, 1)
	s.used--
}

// end is above the number of every key.
func (s *slab) end() uint32 {
	if len(s.keys.chunks) == 0 {
		return 0
	}
	return uint32((len(s.keys.chunks)-1)*chunkSize + s.keys.next)
}

func (s *slab) close() {
	s.keys.close()
	s.names.close()
}
