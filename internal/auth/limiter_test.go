package auth

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bruteLimiter is the specification: every request that was ever allowed, and sums over them.
type bruteLimiter struct{ allowed []time.Time }

func (b *bruteLimiter) live(now time.Time) []time.Time {
	var live []time.Time
	for _, at := range b.allowed {
		if now.Sub(at) < Window {
			live = append(live, at)
		}
	}
	return live
}

func (b *bruteLimiter) take(limit, n int, now time.Time) Decision {
	d := Decision{Limit: limit, Allowed: len(b.live(now))+n <= limit}
	if d.Allowed {
		for range n {
			b.allowed = append(b.allowed, now)
		}
	}
	d.Remaining = max(limit-len(b.live(now)), 0)
	wanted := limit // free requests, all or one
	if d.Remaining == 0 {
		wanted = 1
	}
	d.Reset = b.secondsUntil(wanted, limit, now)
	if !d.Allowed {
		d.RetryAfter = max(b.secondsUntil(min(n, limit), limit, now), 1)
	}
	return d
}

// secondsUntil tries every moment at which a request leaves the window.
func (b *bruteLimiter) secondsUntil(wanted, limit int, now time.Time) int {
	for _, at := range append([]time.Time{now.Add(-Window)}, b.live(now)...) {
		if free := at.Add(Window); limit-len(b.live(free)) >= wanted {
			return int((free.Sub(now) + time.Second - 1) / time.Second)
		}
	}
	return 0
}

func TestLimiterIsTheBruteForce(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		l, brutes := NewLimiter(), map[string]*bruteLimiter{"a": {}, "b": {}}
		limit, now := 1+r.IntN(40), noon
		steps := []time.Duration{time.Microsecond, time.Millisecond, 100 * time.Millisecond, 3 * time.Second, 70 * time.Second}
		step := steps[r.IntN(len(steps))]
		for i := range 600 {
			if r.IntN(100) == 0 { // somebody changes the limit, or the load
				limit, step = 1+r.IntN(40), steps[r.IntN(len(steps))]
			}
			now = now.Add(time.Duration(r.Int64N(int64(step)/1000+1)) * time.Microsecond)
			if r.IntN(20) == 0 { // exactly when something leaves the window
				for _, b := range brutes {
					if live := b.live(now); len(live) > 0 {
						now = live[0].Add(Window)
						break
					}
				}
			}
			id, n := string("ab"[r.IntN(2)]), 1
			if r.IntN(10) == 0 {
				n = 1 + r.IntN(50)
			}
			if got, want := l.Take(id, limit, n, now), brutes[id].take(limit, n, now); got != want {
				t.Fatalf("seed %d, step %d: take %d of %d at %v:\n got %+v\nwant %+v", seed, i, n, limit, now, got, want)
			}
		}
	}
}

func TestLimiterByExample(t *testing.T) {
	l := NewLimiter()
	f := func(after time.Duration, want Decision) {
		t.Helper()
		if got := l.Take("ak_1", 2, 1, noon.Add(after)); got != want {
			t.Errorf("after %v: %+v, want %+v", after, got, want)
		}
	}
	f(0, Decision{Allowed: true, Limit: 2, Remaining: 1, Reset: 60})
	f(10*time.Second, Decision{Allowed: true, Limit: 2, Remaining: 0, Reset: 50})
	f(10500*time.Millisecond, Decision{Limit: 2, Remaining: 0, Reset: 50, RetryAfter: 50})
	f(60*time.Second-time.Microsecond, Decision{Limit: 2, Remaining: 0, Reset: 1, RetryAfter: 1})
	f(60*time.Second, Decision{Allowed: true, Limit: 2, Remaining: 0, Reset: 10})
	f(200*time.Second, Decision{Allowed: true, Limit: 2, Remaining: 1, Reset: 60})
	if got := l.Take("ak_free", 0, 1, noon); got != (Decision{Allowed: true}) {
		t.Errorf("no limit: %+v", got)
	}
}

// Two goroutines may read the clock in one order and ask in the other.
func TestLimiterWhenTimeGoesBack(t *testing.T) {
	l := NewLimiter()
	l.Take("ak_1", 2, 1, noon.Add(time.Second))
	if d := l.Take("ak_1", 2, 1, noon); !d.Allowed || d.Reset != 60 {
		t.Errorf("%+v", d)
	}
	if d := l.Take("ak_1", 2, 1, noon.Add(60*time.Second)); d.Allowed {
		t.Errorf("%+v: three in 60 seconds", d)
	}
}

func TestLimiterUnderConcurrency(t *testing.T) {
	l := NewLimiter()
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if l.Take("ak_1", 1234, 1, noon).Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 1234 {
		t.Errorf("%d allowed, want 1234", allowed.Load())
	}
}

func TestLimiterForgetsIdleKeys(t *testing.T) {
	l := NewLimiter()
	for i := range 10_000 {
		l.Take(fmt.Sprint("ak_", i), 10, 1, noon)
	}
	if l.Len() != 10_000 {
		t.Fatalf("%d keys, want 10,000", l.Len())
	}
	later := noon.Add(2 * Window)
	for i := range 1000 { // reaches every shard
		l.Take(fmt.Sprint("other_", i), 10, 1, later)
	}
	if l.Len() != 1000 {
		t.Errorf("%d keys, want the 1,000 of the last minute", l.Len())
	}
}

func TestLimiterMemoryOfAHotKey(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l, now := NewLimiter(), noon
	for range 300_000 { // 100,000 in any 60 seconds, for three minutes
		now = now.Add(600 * time.Microsecond)
		if !l.Take("ak_hot", 100_000, 1, now).Allowed {
			t.Fatal("refused at the limit's own pace")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the window of a key with 100,000 requests a minute holds %d bytes, want at most 1 MiB", grown)
	}
	runtime.KeepAlive(l)
}

func BenchmarkLimiterTake(b *testing.B) {
	for _, limit := range []int{100, 100_000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			l, now := NewLimiter(), noon
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(100 * time.Microsecond)
				l.Take("ak_1", limit, 1, now)
			}
		})
	}
}
