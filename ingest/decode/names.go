package decode

import "hash/maphash"

const (
	// fewNames are compared one by one; those of a larger object are looked up in a table. It is more than maxEventErrors,
	// so that only objects inside a value use the table.
	fewNames = 24
	// tableSize holds more than all the names of a value of maxDetails bytes, so that the table is never full: each takes
	// five bytes at least, but for one.
	tableSize = 8192
)

// names finds a name that stands twice in its object. Objects nest: the names of the innermost stand last.
type names struct {
	list  []string
	start int // of the innermost object's names
	table []slot
	seed  maphash.Seed
	// round tells the innermost object's slots from others'; 0 while it is not in the table.
	round  uint32
	rounds uint32 // objects that came into the table since it was cleared
}

// slot is a name in the table.
type slot struct {
	round uint32
	at    uint32 // in list
}

// place is what an object remembers of the one around it.
type place struct {
	start int
	round uint32
}

// mark begins an object.
func (n *names) mark() place {
	outer := place{n.start, n.round}
	n.start, n.round = len(n.list), 0
	return outer
}

// release ends an object.
func (n *names) release(outer place) {
	n.list = n.list[:n.start]
	n.start, n.round = outer.start, outer.round
}

// add notes a name of the innermost object, and reports whether it is the first of its kind.
func (n *names) add(name string) bool {
	own := n.list[n.start:]
	if len(own) < fewNames {
		for _, other := range own {
			if other == name {
				return false
			}
		}
		n.list = append(n.list, name)
		return true
	}
	if n.round == 0 {
		n.open(own)
	}
	n.list = append(n.list, name)
	return n.enter(len(n.list) - 1)
}

// fresh begins a value that is in no other.
func (n *names) fresh() {
	if n.rounds > 0 {
		clear(n.table)
		n.rounds = 0
	}
}

// open puts the names of the innermost object into the table.
func (n *names) open(own []string) {
	if n.table == nil {
		n.table, n.seed = make([]slot, tableSize), maphash.MakeSeed()
	}
	n.rounds++
	n.round = n.rounds
	for i := range own {
		n.enter(n.start + i)
	}
}

// enter puts a name of the list into the table, and reports whether its object has none like it there.
func (n *names) enter(at int) bool {
	name := n.list[at]
	for i := maphash.String(n.seed, name) + uint64(n.round); ; i++ {
		s := &n.table[i%tableSize]
		switch {
		case s.round == 0:
			*s = slot{n.round, uint32(at)}
			return true
		case s.round == n.round && n.list[s.at] == name:
			return false
		}
	}
}

// reset forgets everything.
func (n *names) reset() {
	clear(n.list[:cap(n.list)])
	n.list, n.start, n.round = n.list[:0], 0, 0
	n.fresh()
}
