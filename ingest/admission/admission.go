// Package admission decides which requests an ingest node takes when more come than the log and the node can serve, so
// that those that it takes stay fast.
//
// Its invariant: while requests are served quickly, and no more than a burst of them is in flight, none is refused; and a
// tenant that has less than its share in flight is refused never.
//
// A request that may [Gate.Enter] must [Gate.Leave]. How long it was in between tells how the node does: more than a few
// times as long as without a queue, for half a second, means that there is one that stays (Nichols and Jacobson, "Controlling
// Queue Delay", 2012). Then the gate lets in as many at once as are served in the time aimed at (Little's law), and some more
// as long as that goes well. What a request takes without a queue is learnt while there is none, and in an overload by letting
// in few for a moment (Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016).
package admission

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	interval = 100 * time.Millisecond // of one look at how long requests take
	patience = 5                      // intervals in a row that are too slow before anything is refused
	aim      = 20 * time.Millisecond  // a mean that is never too slow
	slowdown = 4                      // times the mean without a queue that is not too slow
	least    = 64                     // requests that may always be in flight
	burst    = 1000                   // requests that may be in flight as long as there is no overload, at least
	patient  = 100 * time.Millisecond // the same: what is served in this time
	samples  = 20                     // requests that an interval needs to tell anything; it lasts until it has them
	probes   = 50                     // intervals from one probe to the next
)

// Gate is a node's. The zero value is not usable: see [New].
type Gate[T comparable] struct {
	inFlight atomic.Int64
	limit    atomic.Int64
	share    atomic.Int64 // of each tenant
	tenants  sync.Map     // T → *atomic.Int64, its requests in flight

	due   atomic.Int64 // when the interval ends, in Unix nanoseconds
	count atomic.Int64 // requests that left in the interval
	sum   atomic.Int64 // nanoseconds that they took
	from  atomic.Int64 // requests that entered before tell nothing, in Unix nanoseconds

	// Of whoever ends an interval; nobody else does until due is set again.
	mu       sync.Mutex
	limited  bool          // an overload
	base     time.Duration // mean without a queue; 0 = not known
	slow     int           // intervals in a row that were too slow
	began    time.Time     // of the interval
	sinceTry int           // intervals since the last probe
	probing  bool          // few are let in
	resume   int64         // limit after the probe
}

// New returns a gate that is open.
func New[T comparable]() *Gate[T] {
	g := &Gate[T]{}
	g.limit.Store(burst)
	g.share.Store(burst)
	return g
}

// Visit is a request that was let in.
type Visit struct {
	own   *atomic.Int64
	since time.Time
}

// Enter lets a tenant's request in, or not.
func (g *Gate[T]) Enter(tenant T, now time.Time) (Visit, bool) {
	own, ok := g.tenants.Load(tenant)
	if !ok {
		own, _ = g.tenants.LoadOrStore(tenant, new(atomic.Int64))
	}
	v := Visit{own.(*atomic.Int64), now}
	mine, all := v.own.Add(1), g.inFlight.Add(1)
	if all > g.limit.Load() && mine > g.share.Load() {
		v.own.Add(-1)
		g.inFlight.Add(-1)
		g.tick(now)
		return Visit{}, false
	}
	return v, true
}

// Leave ends a request. counts says whether it was served: what failed tells nothing of a queue.
func (g *Gate[T]) Leave(v Visit, now time.Time, counts bool) {
	v.own.Add(-1)
	g.inFlight.Add(-1)
	if counts && v.since.UnixNano() >= g.from.Load() {
		g.count.Add(1)
		g.sum.Add(int64(now.Sub(v.since)))
	}
	g.tick(now)
}

// Limit returns how many requests may be in flight, and whether that is because of an overload.
func (g *Gate[T]) Limit() (n int64, overload bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit.Load(), g.limited
}

// tick ends the interval when it is over.
func (g *Gate[T]) tick(now time.Time) {
	if now.UnixNano() < g.due.Load() || !g.mu.TryLock() {
		return
	}
	defer g.mu.Unlock()
	due := g.due.Load()
	over := now.UnixNano() - due
	if over < 0 {
		return
	}
	g.due.Store(now.Add(interval).UnixNano())
	if over > int64(interval) { // nobody came for a while
		g.slow = 0
	}
	if g.count.Load() < samples {
		return
	}
	n, sum := g.count.Swap(0), g.sum.Swap(0)
	took := now.Sub(g.began)
	g.began = now
	if g.adjust(time.Duration(sum/n), float64(n)/took.Seconds()) {
		g.from.Store(now.UnixNano())
	}
	g.divide()
}

// adjust sets the limit by an interval's mean and how many were served in a second. It reports whether a probe begins.
func (g *Gate[T]) adjust(mean time.Duration, rate float64) (probe bool) {
	target := max(aim, slowdown*g.base)
	limit := g.limit.Load()
	switch {
	case !g.limited && (g.base == 0 || mean <= target):
		g.slow = 0
		g.learn(mean)
		limit = max(limit-limit/256, burst, served(rate, max(target, patient)))
	case !g.limited:
		if g.slow++; g.slow >= patience {
			g.limited, g.sinceTry = true, 0
			limit = served(rate, target)
		}
	case g.probing:
		g.base, g.probing, g.sinceTry = mean, false, 0
		limit = g.resume
	case g.sinceTry >= probes:
		g.probing, probe, g.resume = true, true, limit
		// Fewer than a queue of slowdown times the base would be by a half: so a base that is too large shrinks.
		limit = max(limit/(2*slowdown), least/16)
	case mean > target:
		g.sinceTry++
		limit = min(limit, served(rate, target))
	default:
		g.sinceTry++
		limit += max(limit/16, 1)
		if limit > 4*g.inFlight.Load()+4*least { // nobody comes near it
			g.limited, g.slow = false, 0
			limit = max(limit, burst)
		}
	}
	g.limit.Store(limit)
	return probe
}

// learn follows the mean without a queue: down at once, up slowly.
func (g *Gate[T]) learn(mean time.Duration) {
	if g.base == 0 || mean < g.base {
		g.base = mean
		return
	}
	g.base += (mean - g.base) / 256
}

// served is how many requests are served in a time.
func served(rate float64, in time.Duration) int64 {
	return max(int64(rate*in.Seconds()), least)
}

// divide gives each tenant that has requests in flight its share of the limit.
func (g *Gate[T]) divide() {
	active := int64(0)
	g.tenants.Range(func(_, own any) bool {
		if own.(*atomic.Int64).Load() > 0 {
			active++
		}
		return true
	})
	g.share.Store(max(g.limit.Load()/max(active, 1), 1))
}
