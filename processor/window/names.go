package window

import "hash/maphash"

// names finds the keys of a tenant by their names. It is a table of the keys' numbers with open addressing: a third of a
// map's memory, outside of the garbage collector's heap.
type names struct {
	slots []uint64 // the name's hash above the key's number; free where all bits are set
	n     int
}

const (
	freeSlot   = ^uint64(0)
	firstSlots = 512 // a page
)

// seed differs from process to process: nobody can choose names that collide. The order of the slots decides nothing.
var seed = maphash.MakeSeed()

func hashName(name string) uint32 { return uint32(maphash.String(seed, name)) }

// find returns the number of the key with the name, which has the hash.
func (t *names) find(keys *slab, hash uint32, name string) (number uint32, ok bool) {
	if i, ok := t.slot(keys, hash, name); ok {
		return uint32(t.slots[i]), true
	}
	return 0, false
}

// touch reads the memory where a hash is looked for first.
func (t *names) touch(hash uint32) uint32 {
	if t.n == 0 {
		return 0
	}
	return uint32(t.slots[hash&uint32(len(t.slots)-1)])
}

// likely returns the number of the key whose name has the hash, but for what few names share one.
func (t *names) likely(hash uint32) (number uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; t.slots[i] != freeSlot; i = (i + 1) & mask {
		if uint32(t.slots[i]>>32) == hash {
			return uint32(t.slots[i]), true
		}
	}
	return 0, false
}

func (t *names) slot(keys *slab, hash uint32, name string) (i uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	mask := uint32(len(t.slots) - 1)
	for i = hash & mask; t.slots[i] != freeSlot; i = (i + 1) & mask {
		if uint32(t.slots[i]>>32) == hash && keys.name(keys.at(uint32(t.slots[i]))) == name {
			return i, true
		}
	}
	return i, false
}

// add adds a key that is not there, whose name has the hash.
func (t *names) add(hash, number uint32) {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.grow()
	}
	t.n++
	t.put(uint64(hash)<<32 | uint64(number))
}

func (t *names) put(slot uint64) {
	mask := uint32(len(t.slots) - 1)
	i := uint32(slot>>32) & mask
	for t.slots[i] != freeSlot {
		i = (i + 1) & mask
	}
	t.slots[i] = slot
}

func (t *names) grow() {
	old := t.slots
	t.slots = mapped[uint64](max(firstSlots, 2*len(old)))
	for i := range t.slots {
		t.slots[i] = freeSlot
	}
	for _, slot := range old {
		if slot != freeSlot {
			t.put(slot)
		}
	}
	unmap(old)
}

// close gives the table's memory back.
func (t *names) close() {
	unmap(t.slots)
	*t = names{}
}

// remove removes the key with the name. What was pushed on by it moves back, so that no search ends too early.
func (t *names) remove(keys *slab, name string) {
	hole, ok := t.slot(keys, hashName(name), name)
	if !ok {
		return
	}
	mask := uint32(len(t.slots) - 1)
	for i := (hole + 1) & mask; t.slots[i] != freeSlot; i = (i + 1) & mask {
		if home := uint32(t.slots[i]>>32) & mask; (i-home)&mask >= (i-hole)&mask {
			t.slots[hole], hole = t.slots[i], i
		}
	}
	t.slots[hole] = freeSlot
	t.n--
}

// each calls f for the number of every key, in no order.
func (t *names) each(f func(number uint32)) {
	for _, slot := range t.slots {
		if slot != freeSlot {
			f(uint32(slot))
		}
	}
}
