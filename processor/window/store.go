package window

import (
	"strings"
	"time"

	"keypulse/rules"
	"keypulse/schema"
)

// Config sets a store's bounds.
type Config struct {
	// KeysPerTenant is how many keys of a tenant are held; beyond it the least recently used in log order goes.
	// 0 means 1,000,000.
	KeysPerTenant int
	// TrackChanges keeps what AppendChanges needs.
	TrackChanges bool
}

const defaultKeysPerTenant = 1_000_000

// idleGrace is how far the partition's clock must be past a key's longest window before the key's state is freed.
const idleGrace = schema.Millis(time.Hour / time.Millisecond)

// Store is the windows of all keys of one partition. One goroutine owns it.
type Store struct {
	bound   int
	latest  schema.Millis // the largest created_at so far
	tenants map[schema.Tenant]*tenant
	order   []*tenant // in the order of their first events
	sweep   int       // the tenant in order whose idle keys are looked at next
	keys    slab
	rooms   rooms // of the keys' series
	fixed   int   // bytes of the keys without their series
	evicted uint64
	events  int64 // observed so far

	tracking bool
	changes  tracker

	scratch  []series // of a key that is read
	written  []byte   // of a key that is written
	expected uint32   // what was read ahead, so that it is

	scope *rules.Scope
	last  *tenant // of the last event: most often that of the next
	// of the event that is observed:
	key *key
	set *rules.Set
}

// New returns an empty store. Its memory is not the garbage collector's: whoever makes a store closes it.
func New(c Config) *Store {
	s := &Store{bound: c.KeysPerTenant, tracking: c.TrackChanges, tenants: map[schema.Tenant]*tenant{}}
	if s.bound <= 0 {
		s.bound = defaultKeysPerTenant
	}
	s.scope = rules.NewScope(s.value)
	return s
}

// Close gives back the store's memory. Neither the store nor what it returned may be used any more.
func (s *Store) Close() {
	for _, t := range s.order {
		t.keys.close()
	}
	s.keys.close()
	s.rooms.closeAll()
}

// Keys is how many keys the store holds.
func (s *Store) Keys() int { return s.keys.used }

// Evicted is how many keys went because their tenant held too many.
func (s *Store) Evicted() uint64 { return s.evicted }

// Bytes estimates the memory of all keys and their windows.
func (s *Store) Bytes() int { return s.fixed + s.rooms.bytes() }

// Observe takes the next event of the partition: it moves the clock of the event's key and updates the aggregates of
// set that count the event. It returns the event's effective time and the values of the aggregates for it, valid
// until the next Observe. An aggregate that is new in set knows what others with its where and value have kept for at least
// its window, and starts empty otherwise; one that is no longer in it is dropped. The event must not change until the next
// Observe; nothing of it is kept beyond that.
func (s *Store) Observe(set *rules.Set, e *schema.Event) (schema.Millis, rules.Values) {
	s.latest = max(s.latest, e.CreatedAt)
	s.events++
	t := s.tenant(e.Tenant)
	if t.set != set {
		t.adopt(set)
		t.changed = true
	}
	k := s.touch(t, e.KeyID)
	k.clock = max(k.clock, e.CreatedAt)
	s.key, s.set, s.last = k, set, t
	t.round++
	values := s.scope.Begin(set, e)
	for _, i := range set.Touched(values) {
		if set.Matches(int(i), values) {
			s.update(int(i), values)
		}
	}
	s.freeIdle()
	return k.clock, values
}

// tenant returns what the store knows of the tenant, from now on.
func (s *Store) tenant(name schema.Tenant) *tenant {
	t := s.known(name)
	if t == nil {
		t = s.addTenant(schema.Tenant(strings.Clone(string(name))))
	}
	return t
}

// known returns what the store knows of the tenant, nil for nothing.
func (s *Store) known(name schema.Tenant) *tenant {
	if s.last != nil && s.last.name == name {
		return s.last
	}
	return s.tenants[name]
}

func (s *Store) addTenant(name schema.Tenant) *tenant {
	t := newTenant(name)
	t.index = uint32(len(s.order))
	s.tenants[name] = t
	s.order = append(s.order, t)
	return t
}

// touch returns the key, made if it is not held, as the most recently used one of its tenant.
func (s *Store) touch(t *tenant, name string) *key {
	hash := hashName(name)
	number, ok := t.keys.find(&s.keys, hash, name)
	if !ok {
		return s.add(t, hash, name)
	}
	k := s.keys.at(number)
	if t.newest != number || t.awake == none { // the newest one is at rest when all are
		s.unlink(t, number)
		s.link(t, number)
	}
	if k.layout != t.version {
		s.prune(k, t)
	}
	if t.idle(k, s.latest) {
		s.rest(k, t)
		if k.n == 0 {
			k.clock = 0
		}
	}
	k.resting, k.used = false, s.events
	s.change(number, k)
	return k
}

func (s *Store) add(t *tenant, hash uint32, name string) *key {
	if t.keys.n >= s.bound {
		s.remove(t, t.oldest)
		s.evicted++
	}
	number := s.keys.take(name)
	k := s.keys.at(number)
	k.layout, k.tenant, k.used = t.version, t.index, s.events
	t.keys.add(hash, number)
	s.link(t, number)
	s.fixed += k.fixedBytes()
	s.change(number, k)
	return k
}

// remove forgets a key.
func (s *Store) remove(t *tenant, number uint32) {
	k := s.keys.at(number)
	s.forget(k)
	s.fixed -= k.fixedBytes()
	s.free(k)
	s.unlink(t, number)
	t.keys.remove(&s.keys, s.keys.name(k))
	s.keys.release(number)
}

// link makes the key the newest of its tenant.
func (s *Store) link(t *tenant, number uint32) {
	k := s.keys.at(number)
	k.older, k.newer = t.newest, none
	if t.newest != none {
		s.keys.at(t.newest).newer = number
	}
	t.newest = number
	if t.oldest == none {
		t.oldest = number
	}
	if t.awake == none {
		t.awake = number
	}
}

func (s *Store) unlink(t *tenant, number uint32) {
	k := s.keys.at(number)
	if t.awake == number {
		t.awake = k.newer
	}
	if k.older == none {
		t.oldest = k.newer
	} else {
		s.keys.at(k.older).newer = k.newer
	}
	if k.newer == none {
		t.newest = k.older
	} else {
		s.keys.at(k.newer).older = k.older
	}
}

// freeIdle looks at the two least recently used keys of one tenant, the one at rest and the one awake, and frees
// what is idle. Each event pays for one tenant, in turn, so that idle keys go as fast as others come.
func (s *Store) freeIdle() {
	s.sweep++
	if s.sweep >= len(s.order) {
		s.sweep = 0
	}
	t := s.order[s.sweep]
	current := t == s.last
	if number := t.awake; number != none && (!current || s.keys.at(number) != s.key) {
		k := s.keys.at(number)
		if t.idle(k, s.latest) {
			s.rest(k, t)
			k.resting = true
			s.change(number, k)
			t.awake = k.newer
			if k.n == 0 {
				s.remove(t, number)
			}
		}
	}
	if number := t.oldest; number != none && s.keys.at(number).resting {
		if k := s.keys.at(number); k.forgotten(s.latest) {
			s.remove(t, number)
		}
	}
}
