package bench

import (
	"math"
	"sync/atomic"
	"time"
)

// headStart lies between an open loop's beginning and its first slot, so that a connection waits when it is due.
const headStart = 5 * time.Millisecond

// plan is what a phase sends: a slot is one request, numbered from 0, with up to batch events.
type plan struct {
	number   uint64        // of its random stream
	events   int64         // at most; math.MaxInt64 = no bound
	duration time.Duration // of a closed loop: no slot starts later; 0 = no bound
	interval float64       // of an open loop: ns between two slots; 0 = closed loop
	batch    int64
}

// plannedEvents is how many events the measured phase can hold: the bound of Events, or of an open loop's Duration.
func (c *Config) plannedEvents() int64 { return c.eventsWithin(c.Duration, int64(c.Events)) }

// eventsWithin is bound, or what an open loop sends in d where that is less; 0 is no bound for either.
func (c *Config) eventsWithin(d time.Duration, bound int64) int64 {
	n := int64(math.MaxInt64)
	if bound > 0 {
		n = bound
	}
	if c.Rate > 0 && d > 0 {
		n = min(n, int64(math.Round(c.Rate*d.Seconds())))
	}
	return n
}

func (c *Config) interval() float64 {
	if c.Rate == 0 {
		return 0
	}
	return float64(c.Batch) / c.Rate * float64(time.Second)
}

func (c *Config) measured() plan {
	return plan{
		number: phaseMeasured, events: c.plannedEvents(), duration: c.Duration,
		interval: c.interval(), batch: int64(c.Batch),
	}
}

// warmUp is the plan of the phase before, with no events when there is none.
func (c *Config) warmUp() plan {
	p := c.measured()
	p.number, p.duration, p.events = phaseWarmUp, c.WarmUp, 0
	if tenth := int64(c.Events) / 10; c.WarmUp > 0 && (c.Events == 0 || tenth > 0) {
		p.events = c.eventsWithin(c.WarmUp, tenth)
	}
	return p
}

// openLoop says whether slots are due at times of their own.
func (p *plan) openLoop() bool { return p.interval > 0 }

// due is when an open loop's slot is due, counted from the first one.
func (p *plan) due(slot int64) time.Duration { return time.Duration(float64(slot) * p.interval) }

// slots is how many there are.
func (p *plan) slots() int64 {
	n := p.events / p.batch
	if p.events%p.batch != 0 {
		n++
	}
	return n
}

// size is how many events a slot holds.
func (p *plan) size(slot int64) int { return int(min(p.batch, p.events-slot*p.batch)) }

// phase is a plan under way.
type phase struct {
	plan
	start time.Time // when slot 0 is due
	next  atomic.Int64
}

func newPhase(p plan, now time.Time) *phase {
	if p.openLoop() {
		now = now.Add(headStart)
	}
	return &phase{plan: p, start: now}
}

// claim gives the caller the next slot that nobody has; false when there is none left.
func (p *phase) claim() (slot int64, ok bool) {
	slot = p.next.Add(1) - 1
	if slot >= p.slots() {
		return 0, false
	}
	if !p.openLoop() && p.duration > 0 && time.Since(p.start) >= p.duration {
		return 0, false
	}
	return slot, true
}

// length is how long the phase took when it ends at end. The last interval of an open loop that was not cut short
// belongs to it: a hundred events at 100 a second take a second.
func (p *phase) length(end time.Time, complete bool) time.Duration {
	d := max(end.Sub(p.start), 0)
	if complete && p.openLoop() {
		d = max(d, p.due(p.slots()))
	}
	return d
}
