package window

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"keypulse/internal/varint"
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
}

// forget notes that a key is gone.
func (s *Store) forget(k *key) {
	if s.tracking {
		s.changes.gone = append(s.changes.gone, goneKey{k.tenant, strings.Clone(s.keys.name(k))})
	}
}

// ChangedBytes is about how much AppendChanges would write for touched keys, if they are like the others.
func (s *Store) ChangedBytes() int { return len(s.changes.keys) * (s.Bytes() / max(1, s.Keys())) }

// AppendChanges appends what has changed since the last call, and part of what has not. With passed the pass over all keys is
// complete: everything written since the call after the last complete pass makes the whole store. The store must have been
// made with TrackChanges.
func (s *Store) AppendChanges(b []byte) (out []byte, passed bool) {
	b = binary.NativeEndian.AppendUint16(b, codecVersion)
	for _, n := range []int64{int64(s.latest), int64(s.sweep), int64(s.evicted), s.events} {
		b = varint.AppendInt(b, n)
	}
	b = s.appendLayouts(b)
	b = varint.AppendInt(b, len(s.changes.gone))
	for _, g := range s.changes.gone {
		b = varint.AppendUint(b, g.tenant)
		b = varint.AppendString(b, g.name)
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
	b = varint.AppendInt(b, n)
	for _, t := range s.order {
		if all || t.changed {
			b = appendLayout(b, t.name, &t.layout)
			t.changed = false
		}
	}
	return b
}

func (s *Store) appendKey(b []byte, k *key) []byte {
	b = append(b, 1)
	b = varint.AppendUint(b, k.tenant)
	b = varint.AppendInt(b, k.used)
	b = varint.AppendBool(b, k.resting)
	b = varint.AppendString(b, s.keys.name(k))
	s.written = s.appendSeries(s.written[:0], k, s.order[k.tenant])
	return varint.AppendString(b, s.written)
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
	r := varint.NewReader(b)
	if head := r.Take(2); head != nil && binary.NativeEndian.Uint16(head) != codecVersion {
		return errors.New("restore windows: they are of another version, or of a machine with another order of bytes")
	}
	s.latest, s.sweep, s.evicted, s.events = schema.Millis(r.Int()), int(r.Int()), uint64(r.Int()), r.Int()
	for range r.Int() {
		if r.Err() != nil {
			break
		}
		s.applyLayout(readLayout(r))
	}
	for range r.Int() {
		if r.Err() != nil {
			break
		}
		if t, name := s.readTenant(r), r.String(); t != nil {
			s.drop(t, name)
		}
	}
	for s.applyKeys(r) {
	}
	if r.Err() != nil || r.Len() > 0 || s.sweep < 0 || s.sweep > len(s.order) {
		return fmt.Errorf("restore windows: %w", varint.ErrDamaged)
	}
	return nil
}

// applyLayout makes a layout the tenant's.
func (s *Store) applyLayout(name schema.Tenant, l layout) {
	t := s.tenants[name]
	if t == nil {
		t = s.addTenant(name)
	}
	t.layout = l
}

// drop forgets a key that is in no list yet.
func (s *Store) drop(t *tenant, name string) {
	if number, ok := t.keys.find(&s.keys, hashName(name), name); ok {
		k := s.keys.at(number)
		s.fixed -= k.fixedBytes()
		s.free(k)
		t.keys.remove(&s.keys, name)
		s.keys.release(number)
	}
}

// applyAtOnce is how many keys are looked up at once, so that the misses of their memory overlap.
const applyAtOnce = 16

// keyRecord is a key as appendKey wrote it.
type keyRecord struct {
	tenant  *tenant
	used    int64
	resting bool
	name    string // aliases what is read
	hash    uint32 // of the name
	series  []byte
}

// applyKeys takes in some keys; false when there are no more.
func (s *Store) applyKeys(r *varint.Reader) bool {
	var records [applyAtOnce]keyRecord
	n, more := 0, true
	for ; n < len(records); n++ {
		if more = r.Bool(); !more {
			break
		}
		k, name := &records[n], []byte(nil)
		k.tenant, k.used, k.resting, name, k.series = s.readTenant(r), r.Int(), r.Bool(), r.Bytes(), r.Bytes()
		if r.Err() != nil || len(name) == 0 || len(name) > schema.MaxRecordKey {
			r.Fail()
			return false
		}
		k.name = unsafe.String(&name[0], len(name))
		k.hash = hashName(k.name)
		s.expected += k.tenant.keys.touch(k.hash)
	}
	for i := range records[:n] {
		if number, ok := records[i].tenant.keys.likely(records[i].hash); ok {
			s.expected += s.keys.at(number).name
		}
	}
	for i := range records[:n] {
		if err := s.applyKey(&records[i]); err != nil {
			r.Fail()
			return false
		}
	}
	return more
}

// applyKey takes in a key. One that is held as it was after the same event is the same.
func (s *Store) applyKey(record *keyRecord) error {
	t := record.tenant
	number, known := t.keys.find(&s.keys, record.hash, record.name)
	if !known {
		number = s.keys.take(record.name)
		t.keys.add(record.hash, number)
		s.fixed += s.keys.at(number).fixedBytes()
	}
	k := s.keys.at(number)
	if known && k.used == record.used && k.resting == record.resting {
		return nil
	}
	s.free(k)
	*k = key{name: k.name, nameLen: k.nameLen, used: record.used, resting: record.resting, tenant: t.index, layout: t.version}
	r := varint.NewReader(record.series)
	if s.readSeries(r, k, t); r.Len() > 0 {
		r.Fail()
	}
	return r.Err()
}

// readTenant reads a tenant's number; nil when there is none.
func (s *Store) readTenant(r *varint.Reader) *tenant {
	n := r.Uint()
	if n >= uint64(len(s.order)) {
		r.Fail()
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
