package window

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"keypulse/schema"
)

// A store as a row of changes: what a checkpoint holds. Each call of AppendChanges writes the keys that events have touched
// since the last one and, in turn, as much again of those that they have not; so a pass over all keys takes as many calls as
// the events touch keys. A store that applies all changes of a whole pass, and those after it, in their order, answers every
// later event as the one that wrote them would, to the last bit.

// minPass is how many bytes of untouched keys a call writes at least.
const minPass = 64 << 10

// tracker remembers what has changed since the last AppendChanges.
type tracker struct {
	keys    []uint32  // touched, in the order of their first touch; some may be gone since
	gone    []goneKey // forgotten
	bytes   int       // about how large the touched keys are
	pass    uint32    // the next key of the pass
	passing bool      // the pass has begun
}

type goneKey struct {
	tenant uint32
	name   string
}

// change notes that a key must be written.
func (s *Store) change(number uint32, k *key) {
	if !s.tracking || k.changed {
		return
	}
	k.changed = true
	s.changes.keys = append(s.changes.keys, number)
	s.changes.bytes += k.bytes(&s.rooms)
}

// forget notes that a key is gone.
func (s *Store) forget(k *key) {
	if s.tracking {
		s.changes.gone = append(s.changes.gone, goneKey{k.tenant, strings.Clone(s.keys.name(k))})
	}
}

// ChangedBytes is about how much AppendChanges would write for touched keys.
func (s *Store) ChangedBytes() int { return s.changes.bytes }

// AppendChanges appends what has changed since the last call, and part of what has not. With passed the pass over all keys is
// complete: everything written since the call after the last complete pass makes the whole store. The store must have been
// made with TrackChanges.
func (s *Store) AppendChanges(b []byte) (out []byte, passed bool) {
	b = append(b, codecVersion)
	for _, n := range []int64{int64(s.latest), int64(s.sweep), int64(s.evicted), s.events} {
		b = binary.AppendVarint(b, n)
	}
	b = s.appendLayouts(b)
	b = binary.AppendUvarint(b, uint64(len(s.changes.gone)))
	for _, g := range s.changes.gone {
		b = binary.AppendUvarint(b, uint64(g.tenant))
		b = appendText(b, g.name)
	}
	begin := len(b)
	for _, number := range s.changes.keys {
		if k := s.keys.at(number); k.changed {
			b = s.appendKey(b, k)
			k.changed = false
		}
	}
	b, passed = s.appendPass(b, max(len(b)-begin, minPass))
	s.changes = tracker{keys: s.changes.keys[:0], gone: s.changes.gone[:0], pass: s.changes.pass, passing: !passed}
	return b, passed
}

// appendLayouts appends the layouts of the tenants that have another one than was written; when a pass begins, of all.
func (s *Store) appendLayouts(b []byte) []byte {
	all := !s.changes.passing
	n := 0
	for _, t := range s.order {
		if all || t.changed {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for _, t := range s.order {
		if all || t.changed {
			b = t.appendLayout(b)
			t.changed = false
		}
	}
	return b
}

func (s *Store) appendKey(b []byte, k *key) []byte {
	b = append(b, 1)
	b = binary.AppendUvarint(b, uint64(k.tenant))
	b = binary.AppendVarint(b, k.used)
	return s.appendState(b, k, s.order[k.tenant])
}

// appendPass appends keys from the pass on until they are about so many bytes, and the mark of the end.
func (s *Store) appendPass(b []byte, size int) (out []byte, passed bool) {
	last := s.keys.end()
	for end := len(b) + size; s.changes.pass < last && len(b) < end; s.changes.pass++ {
		if k := s.keys.at(s.changes.pass); k.nameLen > 0 {
			b = s.appendKey(b, k)
		}
	}
	if passed = s.changes.pass >= last; passed {
		s.changes.pass = 0
	}
	return append(b, 0), passed
}

// ApplyChanges takes in what AppendChanges wrote. After the last changes, and before the next event, comes FinishChanges.
func (s *Store) ApplyChanges(b []byte) error {
	r := &reader{b: b}
	if version := r.byte(); version != codecVersion {
		return fmt.Errorf("restore windows: version %d is not known", version)
	}
	s.latest = schema.Millis(r.varint())
	s.sweep = int(r.varint())
	s.evicted = uint64(r.varint())
	s.events = r.varint()
	for range r.uvarint(uint64(len(b))) {
		s.applyLayout(r.layout())
	}
	for range r.uvarint(uint64(len(b))) {
		if t, name := r.tenant(s), r.text(); t != nil {
			s.drop(t, name)
		}
	}
	for r.byte() == 1 && !r.failed {
		s.applyKey(r)
	}
	if r.failed || len(r.b) > 0 || s.sweep < 0 || s.sweep > len(s.order) {
		return fmt.Errorf("restore windows: %w", errCorrupt)
	}
	return nil
}

// applyLayout makes a layout the tenant's.
func (s *Store) applyLayout(layout *tenant) {
	t := s.tenants[layout.name]
	if t == nil {
		layout.index = uint32(len(s.order))
		s.tenants[layout.name] = layout
		s.order = append(s.order, layout)
		return
	}
	t.nextSlot, t.layout, t.longest, t.byKey, t.live = layout.nextSlot, layout.layout, layout.longest, layout.byKey, layout.live
}

// drop forgets a key that is in no list yet.
func (s *Store) drop(t *tenant, name string) {
	if number, ok := t.keys.find(&s.keys, name); ok {
		k := s.keys.at(number)
		s.fixed -= k.fixedBytes()
		s.free(k)
		t.keys.remove(&s.keys, name)
		s.keys.release(number)
	}
}

func (s *Store) applyKey(r *reader) {
	t := r.tenant(s)
	if t == nil {
		return
	}
	used, name := r.varint(), r.textBytes()
	if r.failed || len(name) == 0 || len(name) > schema.MaxRecordKey {
		r.failed = true
		return
	}
	number, known := t.keys.find(&s.keys, unsafe.String(&name[0], len(name)))
	if !known {
		number = s.keys.take(unsafe.String(&name[0], len(name)))
		t.keys.add(s.keys.name(s.keys.at(number)), number)
		s.fixed += s.keys.at(number).fixedBytes()
	}
	k := s.keys.at(number)
	s.free(k)
	*k = key{name: k.name, nameLen: k.nameLen, used: used, tenant: t.index, layout: t.layout}
	s.readKey(r, k, t)
}

// tenant reads a tenant's number.
func (r *reader) tenant(s *Store) *tenant {
	n := r.uvarint(math.MaxUint32)
	if n >= uint64(len(s.order)) {
		r.failed, r.b = true, nil
		return nil
	}
	return s.order[n]
}

// lastUse is when a key was used last, as [key.used] says it.
type lastUse struct {
	used   int64
	number uint32
}

// FinishChanges puts the keys that changes brought into the order of their last events.
func (s *Store) FinishChanges() {
	for _, t := range s.order {
		keys := make([]lastUse, 0, t.keys.n)
		t.keys.each(func(number uint32) { keys = append(keys, lastUse{s.keys.at(number).used, number}) })
		slices.SortFunc(keys, func(a, b lastUse) int { return cmp.Compare(a.used, b.used) })
		t.oldest, t.awake, t.newest = none, none, none
		for _, k := range keys {
			resting, awake := s.keys.at(k.number).resting, t.awake
			s.link(t, k.number)
			if resting {
				t.awake = awake
			}
		}
	}
}
