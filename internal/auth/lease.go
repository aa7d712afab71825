package auth

import "keypulse/schema"

// lease is one API key on this node: the window of what was allowed here and, where nodes share, who holds how many of
// the key's slots. Its shard's lock guards it.
type lease struct {
	id     string
	window window

	// What the log says.
	limit  int       // 0: no record has said it
	held   []holding // by node, this one included; nobody with none
	mine   int       // this node's part of held
	scaled int64     // the offset after the record that last took slots from everybody

	// What this node is about to say.
	asked   int   // the limit, as the last request knew it
	waiting int   // slots that waiting requests ask for
	ahead   bool  // few are left: take another lease
	probe   bool  // requests are refused: ask whether another node has spare slots
	offer   int   // slots to give back
	giving  int   // of mine, given back in a record that has not been read back: used here no more
	dirty   bool  // it is in the share's queue
	answers int64 // how many own records about it have been read back

	used     int64 // when a request last asked
	denied   int64 // until then refused requests do not wait
	probed   int64 // when probe was set last
	declared int64 // when the log last heard of mine
	// changed is closed when the log has said something that helps those who wait; nil while nobody does.
	changed chan struct{}
}

// holding is the slots of one node.
type holding struct {
	node  string
	slots int
	at    int64 // the offset after the record that said so
}

// portion is a twentieth of a limit: what a node takes at a time.
func portion(limit int) int { return max(limit/20, 1) }

// pool is how many slots nobody holds, where limit is the key's.
func (e *lease) pool(limit int) int { return max(limit-e.total(), 0) }

func (e *lease) total() int {
	n := 0
	for i := range e.held {
		n += e.held[i].slots
	}
	return n
}

// others is how many slots other nodes hold.
func (e *lease) others() int { return e.total() - e.mine }

// free is how many slots this node could use now.
func (e *lease) free() int { return e.mine - e.giving - e.window.count }

// room is how many places the window has, and never more than the newest limit.
func (e *lease) room(limit int) int { return min(e.mine-e.giving, limit) }

// decision is what to say of a request that this node's slots decided.
func (e *lease) decision(allowed bool, limit, n int) Decision {
	return e.window.decide(allowed, limit, e.room(limit), e.pool(limit), n)
}

// claim makes the lease's part of the next record.
func (e *lease) claim() schema.QuotaClaim {
	c := schema.QuotaClaim{ID: e.id, Has: e.mine}
	if e.waiting > 0 {
		c.Need = max(e.waiting-e.free(), 0)
	}
	if e.probe {
		c.Need = max(c.Need, 1)
	}
	c.Take = c.Need
	if e.ahead || c.Need > 0 {
		c.Take += portion(e.asked)
	}
	switch {
	case e.giving > 0: // a record that said so may be lost: say it again, it counts once
		c.Give, c.Take, c.Need = e.giving, 0, 0
	case c.Take > 0:
		c.Limit = e.asked
	case e.offer > 0:
		c.Give = max(min(e.offer, e.free()), 0)
		e.giving = c.Give
	}
	e.ahead, e.probe, e.offer = false, false, 0
	return c
}

// apply does what a node's claim says, in log order: seen is how far the node had read, next the offset after the record.
// It returns how many slots the node still misses.
func (e *lease) apply(c schema.QuotaClaim, node string, seen, next int64) (missing int) {
	if c.Limit > 0 && c.Limit != e.limit {
		e.limit = c.Limit
		e.scale(next)
	}
	h := e.holding(node)
	if seen >= e.scaled && seen >= h.at {
		h.slots = max(c.Has, 0)
	}
	h.at = next
	switch {
	case c.Take > 0:
		granted := min(c.Take, e.pool(c.Limit))
		h.slots += granted
		missing = max(c.Need-granted, 0)
	case c.Give > 0:
		h.slots -= min(c.Give, h.slots)
	}
	if h.slots == 0 {
		e.drop(node)
	}
	return missing
}

// scale takes slots from everybody, in proportion, when together they hold more than a lowered limit.
func (e *lease) scale(next int64) {
	total := e.total()
	if total <= e.limit {
		return
	}
	for i := range e.held {
		e.held[i].slots = e.held[i].slots * e.limit / total
	}
	e.scaled = next
}

func (e *lease) holding(node string) *holding {
	for i := range e.held {
		if e.held[i].node == node {
			return &e.held[i]
		}
	}
	e.held = append(e.held, holding{node: node})
	return &e.held[len(e.held)-1]
}

// drop forgets a node's slots.
func (e *lease) drop(node string) {
	for i := range e.held {
		if e.held[i].node == node {
			e.held = append(e.held[:i], e.held[i+1:]...)
			return
		}
	}
}

// slots is how many a node holds.
func (e *lease) slots(node string) int {
	for i := range e.held {
		if e.held[i].node == node {
			return e.held[i].slots
		}
	}
	return 0
}

// wake tells those who wait to look again.
func (e *lease) wake() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// idle reports whether nothing of the lease is of any use.
func (e *lease) idle() bool {
	return e.window.count == 0 && len(e.held) == 0 && e.waiting == 0 && !e.dirty
}
