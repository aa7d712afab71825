package window

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"keypulse/rules"
	"keypulse/schema"
)

// The layouts of tenants and the states of keys as bytes: what changes are made of. A key that is restored answers
// every later event as the one that was written would, to the last bit.

const codecVersion = 2

var errCorrupt = errors.New("it is cut off or corrupt")

// appendLayout appends the tenant's layout; its aggregates are in the order of their names.
func (t *tenant) appendLayout(b []byte) []byte {
	b = appendText(b, string(t.name))
	b = binary.AppendUvarint(b, uint64(t.nextSlot))
	b = binary.AppendUvarint(b, uint64(t.layout))
	b = binary.AppendVarint(b, int64(t.longest))
	names := make([]string, 0, len(t.byKey))
	for name := range t.byKey {
		names = append(names, name)
	}
	slices.Sort(names)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		slot := t.byKey[name]
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(slot))
		b = append(b, byte(t.live[slot]))
	}
	return b
}

func (r *reader) layout() *tenant {
	t := newTenant(schema.Tenant(r.text()))
	t.nextSlot = uint32(r.uvarint(math.MaxUint32))
	t.layout = uint32(r.uvarint(math.MaxUint32))
	t.longest = schema.Millis(r.varint())
	for range r.uvarint(uint64(len(r.b))) {
		name, slot, call := r.text(), uint32(r.uvarint(math.MaxUint32)), rules.Call(r.byte())
		t.byKey[name], t.live[slot] = slot, call
	}
	return t
}
