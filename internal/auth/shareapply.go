package auth

import (
	"time"

	"keypulse/schema"
)

// Apply does what the record at offset says. One that is out of turn changes nothing.
func (s *Share) Apply(offset int64, r schema.QuotaRecord, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = offset + 1
	mine := r.Node == s.me
	if s.dead[r.Node] || r.Node == "" {
		return
	}
	m := s.members[r.Node]
	inTurn := m == nil || r.After == m.seq
	if m != nil && r.Seq <= m.seq {
		return
	}
	if r.Reset && r.Seen == offset {
		for node := range s.members {
			s.bury(node)
		}
	}
	m = s.note(r)
	if inTurn {
		for _, c := range r.Keys {
			s.with(c.ID, func(e *lease) { s.applyClaim(e, c, r, now) })
		}
	}
	if mine {
		s.readBack(r, inTurn, now)
	}
	s.buryThe(m, r)
	s.nodes.Store(int32(max(s.living(), 1)))
	s.ring()
}

// note remembers that a node has written, and what the others' beats were then.
func (s *Share) note(r schema.QuotaRecord) *member {
	m := s.members[r.Node]
	if m == nil {
		m = &member{since: map[string]int64{}}
		s.members[r.Node] = m
		for _, other := range s.members {
			other.since[r.Node] = r.Beat
		}
	}
	m.seq, m.beat, m.left = r.Seq, max(m.beat, r.Beat), r.Leave
	for node, other := range s.members {
		m.since[node] = other.beat
	}
	return m
}

// buryThe buries the members that have been silent for so many of m's beats that no use of their slots counts any more.
func (s *Share) buryThe(m *member, r schema.QuotaRecord) {
	for node, other := range s.members {
		bound := int64(silentBeats)
		if other.left {
			bound = leftBeats
		}
		if other != m && m.beat-other.since[r.Node] >= bound {
			s.bury(node)
		}
	}
}

// bury ends a node: nobody holds its slots.
func (s *Share) bury(node string) {
	delete(s.members, node)
	s.dead[node] = true
	s.each(func(e *lease) {
		e.drop(node)
		if node == s.me {
			e.mine, e.giving = 0, 0
		}
		e.wake()
	})
	if node == s.me {
		s.rise()
	}
}

func (s *Share) living() int {
	n := 0
	for _, m := range s.members {
		if !m.left {
			n++
		}
	}
	return n
}

// applyClaim does what one claim says, and lets this node give where another one misses what it has.
func (s *Share) applyClaim(e *lease, c schema.QuotaClaim, r schema.QuotaRecord, now time.Time) {
	missing := e.apply(c, r.Node, r.Seen, s.next)
	e.mine = e.slots(s.me)
	if r.Node == s.me {
		return
	}
	at := e.window.advance(s.limiter.micros(now))
	if free := e.free(); missing > 0 && free > 0 && e.waiting == 0 {
		e.offer = min(missing, free)
		if at-e.used >= idleAfter.Microseconds() {
			e.offer = free
		}
		s.enqueue(e)
	}
	if c.Give > 0 && (e.waiting > 0 || at-e.probed < denyFor.Microseconds() && e.probed > 0) {
		e.probe = true
		s.enqueue(e)
	}
}

// readBack ends the flight of this node's record.
func (s *Share) readBack(r schema.QuotaRecord, inTurn bool, now time.Time) {
	if r.Seq != s.seq { // it was given up and came all the same; the newest, which says the same again, is out of turn now
		s.after = r.Seq
		for _, c := range r.Keys {
			if inTurn && c.Give > 0 {
				s.with(c.ID, func(e *lease) { e.giving = 0 })
			}
		}
		return
	}
	s.after, s.reset = r.Seq, false
	s.fresh.Store(s.limiter.micros(s.sentAt.Add(freshFor)))
	at := s.limiter.micros(now)
	for _, id := range s.flight {
		s.with(id, func(e *lease) {
			e.giving, e.declared = 0, at
			e.answers++
			e.wake()
		})
	}
	s.flying, s.flight = false, nil
}

// Tick gives back what is not needed, repeats what is held, and forgets what is of no use. The caller calls it about
// once a second.
func (s *Share) Tick(now time.Time) {
	at := s.limiter.micros(now)
	for i := range s.limiter.shards {
		shard := &s.limiter.shards[i]
		shard.mu.Lock()
		for id, e := range shard.leases {
			at := e.window.advance(at)
			if e.idle() {
				delete(shard.leases, id)
				continue
			}
			s.tend(e, at)
		}
		shard.mu.Unlock()
	}
	s.ring()
}

// tend looks after one lease: a node keeps about a portion that it does not use, and none of a key that nobody uses.
func (s *Share) tend(e *lease, at int64) {
	free, keep := e.free(), portion(e.asked)
	if e.window.count == 0 && at-e.used >= windowMicros {
		keep = 0
	}
	if e.waiting == 0 && (free > 2*keep || keep == 0 && free > 0) {
		e.offer = free - keep
		s.enqueue(e)
	}
	if e.mine > 0 && at-e.declared >= declareEvery.Microseconds() {
		s.enqueue(e)
	}
}

// Counts is what the share has done: for metrics.
type Counts struct {
	Nodes, Alone, Waits int64
	Fresh               bool
}

// Counts returns how many nodes share, how many requests were decided without the log, and how many waited for it.
func (s *Share) Counts(now time.Time) Counts {
	return Counts{
		Nodes: int64(s.nodes.Load()), Alone: s.alone.Load(), Waits: s.waits.Load(),
		Fresh: s.limiter.micros(now) < s.fresh.Load(),
	}
}
