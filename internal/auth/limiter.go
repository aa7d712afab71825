package auth

import (
	"hash/maphash"
	"strings"
	"sync"
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

// TakeFunc asks for one request of an API key's limit. [Limiter.Take] is one: the limit of a single node.
type TakeFunc func(id string, limit int, now time.Time) Decision

const limiterShards = 64

// Limiter holds the sliding windows of all API keys: in any 60 seconds at most so many requests are allowed, and
// refused ones do not count. It is exact to the microsecond. It keeps 4 bytes for each request allowed in the last 60
// seconds and about 200 for each API key seen in the last two minutes.
//
// Its methods may be called from any number of goroutines; the time is an argument.
type Limiter struct {
	seed   maphash.Seed
	shards [limiterShards]limiterShard
}

type limiterShard struct {
	mu sync.Mutex // guards the following
	// windows by API key id; those that are empty are forgotten by sweep.
	windows map[string]*window
	// epoch is the time of the first request. Times count from it, so that the monotonic clock that time.Now carries
	// decides, and a wall clock that is set back blocks nobody.
	epoch time.Time
	swept int64 // microseconds since epoch: when sweep ran last
}

// NewLimiter makes a limiter that has seen no request.
func NewLimiter() *Limiter {
	l := &Limiter{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].windows = make(map[string]*window)
	}
	return l
}

// Take asks for one request: see [Limiter.TakeN].
func (l *Limiter) Take(id string, limit int, now time.Time) Decision {
	return l.TakeN(id, limit, 1, now)
}

// TakeN asks for n requests at once, all or none, of the API key with this id, whose limit is limit requests in any 60
// seconds (0 or less = none). The limit may differ from call to call: the newest one holds for what was allowed before.
// More than limit at once are never allowed. It keeps no reference to id unless id is new, and then a copy.
func (l *Limiter) TakeN(id string, limit, n int, now time.Time) Decision {
	if limit <= 0 {
		return Decision{Allowed: true}
	}
	s := &l.shards[maphash.String(l.seed, id)%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.micros(now)
	s.sweep(at)
	return s.window(id).take(limit, n, at)
}

// Len returns the number of API keys that the limiter remembers.
func (l *Limiter) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.windows)
		s.mu.Unlock()
	}
	return n
}

func (s *limiterShard) window(id string) *window {
	w := s.windows[id]
	if w == nil {
		w = new(window)
		s.windows[strings.Clone(id)] = w
	}
	return w
}

// micros returns the microseconds between the shard's epoch and now.
func (s *limiterShard) micros(now time.Time) int64 {
	if s.epoch.IsZero() {
		s.epoch = now
	}
	return now.Sub(s.epoch).Microseconds()
}

// sweep forgets the windows that hold nothing, once a window's length.
func (s *limiterShard) sweep(at int64) {
	if at-s.swept < windowMicros {
		return
	}
	s.swept = at
	for id, w := range s.windows {
		if at-w.last >= windowMicros {
			delete(s.windows, id)
		}
	}
}
