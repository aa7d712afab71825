package auth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"keypulse/schema"
)

// Bounds of sharing, each in relation to the others: see silent.
const (
	// BeatEvery is how often a node says that it lives.
	BeatEvery = 2 * time.Second
	// freshFor is how long after the sending of a record that it has read back a node trusts the slots that the log gave it.
	freshFor = 6 * time.Second
	// silentBeats of another node, since a node's last record, bury it: its slots are free. Beats are counted, clocks are
	// not compared. Of those beats at least 34 began after that record was in the log, so that 68 seconds have passed since
	// it was sent; for 6 of them the node used its slots, and 60 later all those uses had left the window.
	silentBeats = 36
	// leftBeats are the same for a node that said that it ends: nothing is used after that.
	leftBeats = 33

	// answerWait is how long a request waits for slots that other nodes hold, once the log has answered.
	answerWait = 50 * time.Millisecond
	// logWait is how long a request waits for the log; then the node decides by itself.
	logWait = time.Second
	// denyFor is how long after a refusal the next ones do not wait, and probeEvery how often they ask meanwhile.
	denyFor    = time.Second
	probeEvery = 250 * time.Millisecond
	// idleAfter is when a node gives all that it has to another one that asks, instead of what that one needs.
	idleAfter = time.Second
	// declareEvery is how often a node repeats what it holds, for nodes that have begun to read after it took it.
	declareEvery = 45 * time.Second

	// claimsInRecord bounds a record.
	claimsInRecord = 1000
)

// Share makes several limiters one. An API key with the limit L has L slots. A node uses a slot for one request and, 60
// seconds later, for another: its window has as many places as it holds slots. Slots move from node to node through the
// log, and only those that are not in use move; so in any 60 seconds each slot serves one request, wherever, and the
// limit holds exactly. No clock of one node is ever compared with another's.
//
// Share is the part without I/O: the caller writes the records that [Share.Next] makes to a topic of one partition and
// hands each record of the topic, in order, to [Share.Apply].
type Share struct {
	limiter *Limiter
	kick    chan struct{} // of size 1: Next may have something to say
	nodes   atomic.Int32  // how many live, at least 1
	// fresh is until when, in the limiter's microseconds, the node trusts its slots. 0: it has not joined, or the log does
	// not answer.
	fresh atomic.Int64
	alone atomic.Int64 // requests that were decided without the log
	waits atomic.Int64 // requests that waited for it

	mu sync.Mutex // guards the following; it is taken before a shard's
	// members are the nodes that the log knows, by name; dead those that were buried: what they say counts no more.
	members map[string]*member
	dead    map[string]bool
	next    int64 // offset of the record to come
	me      string
	joined  bool // everything that was in the log has been read
	reset   bool // the first record may say that nobody holds anything
	seq     int64
	after   int64 // seq of my last record that was read back
	beat    int64
	beatAt  time.Time
	flying  bool // a record is written and not read back
	sentAt  time.Time
	flight  []string // the API keys in it

	queueMu sync.Mutex // guards the following; taken last
	queue   []string   // API keys that the next record is about
}

type member struct {
	seq, beat int64
	left      bool
	since     map[string]int64 // the beats of the others when this one last wrote
}

// NewShare makes a limiter share. It decides by itself until the first record of the node has been read back.
func NewShare(l *Limiter) *Share {
	s := &Share{limiter: l, kick: make(chan struct{}, 1)}
	s.nodes.Store(1)
	s.forget()
	l.share = s
	return s
}

// forget begins a new life of the node that knows nothing.
func (s *Share) forget() {
	s.members, s.dead = map[string]*member{}, map[string]bool{}
	s.next, s.joined, s.reset = 0, false, false
	s.rise()
}

// rise begins a new life with what is known.
func (s *Share) rise() {
	s.me = uuid.Must(uuid.NewV7()).String()
	s.seq, s.after, s.beat, s.beatAt = 0, 0, 0, time.Time{}
	s.flying, s.flight = false, nil
	s.fresh.Store(0)
}

// Restart forgets what the log said, because a part of it is missing. The caller reads it again from its beginning.
func (s *Share) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	s.each(func(e *lease) {
		e.held, e.mine, e.giving, e.limit, e.scaled = nil, 0, 0, 0, 0
	})
}

// Join says that everything in the log below next has been read; old, that its last record is minutes old, or that there
// is none.
func (s *Share) Join(old bool, next int64) {
	s.mu.Lock()
	s.joined, s.reset, s.next = true, old, next
	s.mu.Unlock()
	s.ring()
}

// Joined reports whether the node holds slots of its own.
func (s *Share) Joined() bool { return s.fresh.Load() != 0 }

// Eldest reports whether of all living nodes this one was first.
func (s *Share) Eldest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node, m := range s.members {
		if !m.left && node < s.me {
			return false
		}
	}
	return true
}

// Kick receives when Next may have something to say.
func (s *Share) Kick() <-chan struct{} { return s.kick }

func (s *Share) ring() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// ask is a request that waits for slots.
type ask struct {
	lease    *lease
	limit, n int
	now      time.Time     // when it began to wait
	answers  int64         // of the lease, then
	changed  chan struct{} // closed when it should look again
}

// take decides a request at once, or returns what has to wait. The caller holds the shard's lock.
func (s *Share) take(e *lease, limit, n int, now time.Time) (Decision, *ask) {
	at := e.window.advance(s.limiter.micros(now))
	e.asked, e.used = limit, at
	if at >= s.fresh.Load() {
		return s.decideAlone(e, limit, n), nil
	}
	if e.window.take(e.room(limit), n) {
		if e.limit != limit || 2*e.free() < portion(limit) && e.pool(limit) > 0 {
			e.ahead = true
			s.enqueue(e)
		}
		return e.decision(true, limit, n), nil
	}
	missing, pool := n-e.free(), e.pool(limit)
	switch {
	case n > limit, pool < missing && e.others() == 0:
		return e.decision(false, limit, n), nil
	case pool < missing && at < e.denied:
		if at-e.probed >= probeEvery.Microseconds() {
			e.probed, e.probe = at, true
			s.enqueue(e)
		}
		return e.decision(false, limit, n), nil
	}
	s.waits.Add(1)
	a := &ask{lease: e, limit: limit, n: n, now: now, answers: e.answers}
	a.wait()
	s.enqueue(e)
	return Decision{}, a
}

func (a *ask) wait() {
	a.lease.waiting += a.n
	if a.lease.changed == nil {
		a.lease.changed = make(chan struct{})
	}
	a.changed = a.lease.changed
}

// await waits until a request can be decided, at most logWait. The time that it measures itself is only how long it has
// waited.
func (s *Share) await(shard *limiterShard, a *ask) Decision {
	began := time.Now()
	answer, log := time.NewTimer(answerWait), time.NewTimer(logWait)
	defer answer.Stop()
	defer log.Stop()
	for {
		select {
		case <-a.changed:
		case <-answer.C:
		case <-log.C:
		}
		if d, done := s.again(shard, a, a.now.Add(time.Since(began))); done {
			return d
		}
	}
}

// again looks at a request that waits.
func (s *Share) again(shard *limiterShard, a *ask, now time.Time) (d Decision, done bool) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e, waited, answered := a.lease, now.Sub(a.now), a.lease.answers != a.answers
	at := e.window.advance(s.limiter.micros(now))
	e.used = at
	e.waiting -= a.n
	switch {
	case e.window.take(e.room(a.limit), a.n):
		return e.decision(true, a.limit, a.n), true
	case !answered && waited >= logWait:
		s.fresh.Store(0) // the next ones need not wait to learn it
		return s.decideAlone(e, a.limit, a.n), true
	case answered && (waited >= answerWait || e.others() == 0 && e.pool(a.limit) < a.n-e.free()):
		e.denied, e.probed = at+denyFor.Microseconds(), at
		return e.decision(false, a.limit, a.n), true
	}
	a.wait()
	if answered && e.pool(a.limit) > 0 {
		s.enqueue(e)
	}
	return d, false
}

// decideAlone decides without the log: each node lets its part of the limit through, what it did before included.
func (s *Share) decideAlone(e *lease, limit, n int) Decision {
	nodes := int(s.nodes.Load())
	room := (limit + nodes - 1) / nodes
	s.alone.Add(1)
	return e.window.decide(e.window.take(room, n), limit, room, 0, n)
}

// enqueue has the next record say something about an API key.
func (s *Share) enqueue(e *lease) {
	if e.dirty {
		return
	}
	e.dirty = true
	s.queueMu.Lock()
	s.queue = append(s.queue, e.id)
	s.queueMu.Unlock()
	s.ring()
}

// Next makes the record to write, false when there is nothing to say. Until that record is read back there is no other;
// the caller tells with [Share.Lost] when it may not be in the log.
func (s *Share) Next(now time.Time) (schema.QuotaRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flying || !s.joined {
		return schema.QuotaRecord{}, false
	}
	beats := s.beatAt.IsZero() || now.Sub(s.beatAt) >= BeatEvery
	ids := s.drain(claimsInRecord)
	if !beats && len(ids) == 0 {
		return schema.QuotaRecord{}, false
	}
	if beats {
		s.beat++
		s.beatAt = now
	}
	return s.record(ids, now), true
}

// Leave makes the node's last record: it gives back everything that is not in use.
func (s *Share) Leave(now time.Time) schema.QuotaRecord {
	s.each(func(e *lease) {
		e.window.advance(s.limiter.micros(now))
		if free := e.free(); free > 0 {
			e.waiting, e.ahead, e.probe, e.offer = 0, false, false, free
			s.enqueue(e)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.record(s.drain(claimsInRecord), now)
	r.Leave = true
	return r
}

func (s *Share) drain(n int) []string {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	n = min(n, len(s.queue))
	ids := s.queue[:n:n]
	s.queue = s.queue[n:]
	return ids
}

// record makes the next record. The caller holds mu.
func (s *Share) record(ids []string, now time.Time) schema.QuotaRecord {
	s.seq++
	r := schema.QuotaRecord{Node: s.me, Seq: s.seq, After: s.after, Beat: s.beat, Seen: s.next, Reset: s.reset}
	for _, id := range ids {
		s.with(id, func(e *lease) {
			e.window.advance(s.limiter.micros(now))
			e.dirty = false
			r.Keys = append(r.Keys, e.claim())
		})
	}
	s.flying, s.sentAt, s.flight = true, now, append(s.flight, ids...)
	s.limiter.micros(now) // its epoch is no later than the first record
	return r
}

// Lost says that the last record may not be in the log: the next one says it again.
func (s *Share) Lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying = false
	for _, id := range s.flight {
		s.with(id, s.enqueue)
	}
}

// with runs f with an API key's lease under its lock.
func (s *Share) with(id string, f func(*lease)) {
	shard := s.limiter.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	f(shard.lease(id))
}

// each runs f with every lease under its lock.
func (s *Share) each(f func(*lease)) {
	for i := range s.limiter.shards {
		shard := &s.limiter.shards[i]
		shard.mu.Lock()
		for _, e := range shard.leases {
			f(e)
		}
		shard.mu.Unlock()
	}
}
