package auth

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Window is the length of the rate limit's sliding window.
const Window = 60 * time.Second

const windowMicros = int64(Window / time.Microsecond)

// Decision is what the rate limit says to one request.
type Decision struct {
	Allowed   bool
	Limit     int // 0 = none: the other numbers mean nothing then
	Remaining int // requests that would be allowed now, after this one
	// Reset is in whole seconds, rounded up: until the next request is free when Remaining is 0, else until all are.
	Reset int
	// RetryAfter is in whole seconds, rounded up: until a request like this one is free; 0 when it was allowed.
	RetryAfter int
}

// TakeFunc asks for n requests at once of an API key's limit. [Limiter.Take] is one.
type TakeFunc func(id string, limit, n int, now time.Time) Decision

const limiterShards = 64

// Limiter holds the sliding windows of all API keys: in any 60 seconds at most so many requests are allowed, and
// refused ones do not count. It is exact to the microsecond. It keeps 4 bytes for each request allowed in the last 60
// seconds and about 300 for each API key seen in the last two minutes.
//
// A limiter alone has the whole limit. One that shares ([NewShare]) uses only the slots that the log says are its own, so
// that the limit holds over all nodes.
//
// Its methods may be called from any number of goroutines; the time is an argument.
type Limiter struct {
	seed   maphash.Seed
	shards [limiterShards]limiterShard
	share  *Share // nil: alone
	// epoch is the time of the first request. Times count from it, so that the monotonic clock that time.Now carries
	// decides, and a wall clock that is set back blocks nobody.
	epoch atomic.Pointer[time.Time]
}

type limiterShard struct {
	mu sync.Mutex // guards the following
	// leases by API key id; those that are of no use any more are forgotten by sweep, or by the share's Tick.
	leases map[string]*lease
	swept  int64 // microseconds since epoch: when sweep ran last
}

// NewLimiter makes a limiter that is alone and has seen no request.
func NewLimiter() *Limiter {
	l := &Limiter{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].leases = make(map[string]*lease)
	}
	return l
}

// Take asks for n requests at once, all or none, of the API key with this id, whose limit is limit requests in any 60
// seconds (0 or less = none). The limit may differ from call to call: the newest one holds for what was allowed before.
// More than limit at once are never allowed. It keeps no reference to id unless id is new, and then a copy.
//
// Alone it never waits. A limiter that shares waits where it must ask the log: see [Share].
func (l *Limiter) Take(id string, limit, n int, now time.Time) Decision {
	if limit <= 0 {
		return Decision{Allowed: true}
	}
	s := l.shard(id)
	s.mu.Lock()
	if l.share != nil {
		d, waits := l.share.take(s.lease(id), limit, n, now)
		s.mu.Unlock()
		if waits == nil {
			return d
		}
		return l.share.await(s, waits)
	}
	defer s.mu.Unlock()
	at := l.micros(now)
	s.sweep(at)
	w := &s.lease(id).window
	w.advance(at)
	return w.decide(w.take(limit, n), limit, limit, 0, n)
}

// Len returns the number of API keys that the limiter remembers.
func (l *Limiter) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.leases)
		s.mu.Unlock()
	}
	return n
}

func (l *Limiter) shard(id string) *limiterShard {
	return &l.shards[maphash.String(l.seed, id)%limiterShards]
}

func (s *limiterShard) lease(id string) *lease {
	e := s.leases[id]
	if e == nil {
		id = strings.Clone(id)
		e = &lease{id: id}
		s.leases[id] = e
	}
	return e
}

// micros returns the microseconds between the limiter's epoch and now.
func (l *Limiter) micros(now time.Time) int64 {
	epoch := l.epoch.Load()
	if epoch == nil {
		epoch = l.begin(now)
	}
	return now.Sub(*epoch).Microseconds()
}

func (l *Limiter) begin(now time.Time) *time.Time {
	l.epoch.CompareAndSwap(nil, &now)
	return l.epoch.Load()
}

// sweep forgets the windows that hold nothing, once a window's length.
func (s *limiterShard) sweep(at int64) {
	if at-s.swept < windowMicros {
		return
	}
	s.swept = at
	for id, e := range s.leases {
		if at-e.window.last >= windowMicros {
			delete(s.leases, id)
		}
	}
}
