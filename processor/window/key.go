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

// key is the state of one key. It holds no pointer into a rule or a set.
type key struct {
	clock        schema.Millis // the largest created_at so far
	used         int64         // the number of its last event in the store: the order of the tenant's list
	name         uint32        // the block of its name
	block        uint32        // of its series, by rising slot; one that no event belonged to is not there
	n, room      uint16        // series
	older, newer uint32        // in the tenant's list
	tenant       uint32        // in the store's order
	layout       uint32        // the version of the tenant's when the series were last looked through
	nameLen      uint16        // 0 for a key that is released: the number is free
	resting      bool          // idle: only since_last has series
	changed      bool          // since the last AppendChanges
}

// perKey is what a key costs besides its series and its name: the struct and its place in the tenant's table.
const perKey = int(unsafe.Sizeof(key{})) + 16

// fixedBytes is what the key costs besides its series.
func (k *key) fixedBytes() int {
	_, size := class(nameRoom(int(k.nameLen)))
	return perKey + size
}

// series are the series of the key. They are valid until one is added or dropped.
func (k *key) series(r *rooms) []series { return r.series.at(k.block, int(k.n)) }

// find returns the series of a plan, nil when there is none. It is valid until the next one is added.
func (s *Store) find(k *key, p *plan) *series {
	list := k.series(&s.rooms)
	if place := int(p.last); place < len(list) && list[place].slot == p.slot {
		return &list[place]
	}
	i, ok := search(list, p.slot)
	if !ok {
		return nil
	}
	p.last = uint16(i)
	return &list[i]
}

// search returns the place of the slot among the series, or where it belongs.
func search(list []series, slot uint32) (int, bool) {
	low, high := 0, len(list)
	for low < high {
		middle := (low + high) / 2
		if list[middle].slot < slot {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(list) && list[low].slot == slot
}

// findOrAdd returns the series of a plan.
func (s *Store) findOrAdd(k *key, p *plan) *series {
	if found := s.find(k, p); found != nil {
		return found
	}
	i, _ := search(k.series(&s.rooms), p.slot)
	if k.n == k.room {
		s.resize(k, int(k.n)+1)
	}
	k.n++
	list := k.series(&s.rooms)
	copy(list[i+1:], list[i:])
	list[i] = series{slot: p.slot, shape: p.shape}
	p.last = uint16(i)
	return &list[i]
}

// resize moves the key's series to a room for n, at least as many as there are.
func (s *Store) resize(k *key, n int) {
	old := *k
	if k.block, k.room = 0, 0; n > 0 {
		_, size := class(n)
		k.block, k.room = s.rooms.series.take(n), uint16(size)
		copy(k.series(&s.rooms), old.series(&s.rooms))
	}
	if old.room > 0 {
		s.rooms.series.give(old.block, int(old.room))
	}
}

// prune drops the series that no aggregate of the tenant's set looks at any more, and views of aggregates that are gone.
func (s *Store) prune(k *key, t *tenant) {
	k.layout = t.version
	s.keep(k, func(sr *series) bool {
		p, ok := t.series[sr.slot]
		if ok && sr.nviews > 0 {
			o := s.rooms.open(sr, p)
			o.replan(k.clock)
		}
		return ok
	})
}

// rest drops what an idle key does not need: the time stamps of since_last stay.
func (s *Store) rest(k *key, t *tenant) {
	s.keep(k, func(sr *series) bool { _, ok := t.series[sr.slot]; return ok && sr.shape == stamp })
}

// keep drops the series for which f is false.
func (s *Store) keep(k *key, f func(*series) bool) {
	list, kept := k.series(&s.rooms), 0
	for i := range list {
		if f(&list[i]) {
			list[kept] = list[i]
			kept++
		} else {
			s.rooms.close(&list[i])
		}
	}
	if k.n = uint16(kept); kept < len(list) {
		s.resize(k, kept)
	}
}

// free gives back all that the key has.
func (s *Store) free(k *key) { s.keep(k, func(*series) bool { return false }) }

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
