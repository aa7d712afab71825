package notify

import (
	"container/heap"
	"time"
)

// lanes is the messages that wait, and when which may go: those of a webhook in the order in which they are due, as many
// at once as it can take. So a webhook that does not answer keeps nobody waiting but itself.
type lanes struct {
	concurrency int
	inFlight    int
	of          map[ref]*lane
	later       timeline // by when they are due
	ready       []*lane  // that have a message to send and a place for it
}

// lane is one webhook's.
type lane struct {
	ready    []*Delivery     // due, the first first
	under    map[string]bool // on their way: their ids
	failing  bool            // the last try failed
	until    time.Time       // it wants nothing before
	waitings bool            // in lanes.ready
}

// due is when a message, or what a webhook has asked for, is due.
type due struct {
	at time.Time
	d  *Delivery
}

type timeline []due

// Len is part of heap.Interface, as are the following.
func (t timeline) Len() int           { return len(t) }
func (t timeline) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timeline) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push adds an element.
func (t *timeline) Push(x any) {
	if e, ok := x.(due); ok {
		*t = append(*t, e)
	}
}

// Pop removes the last one.
func (t *timeline) Pop() any {
	old := *t
	e := old[len(old)-1]
	*t = old[:len(old)-1]
	return e
}

func newLanes(concurrency int) *lanes {
	return &lanes{concurrency: concurrency, of: map[ref]*lane{}}
}

// add has a pending delivery wait until it is due. The delivery is the outbox's, and changes with it.
func (l *lanes) add(d *Delivery) { heap.Push(&l.later, due{d.NextAt.Time(), d}) }

// wait is how long nothing is due.
func (l *lanes) wait(now time.Time) time.Duration {
	const longest = time.Minute
	switch {
	case len(l.ready) > 0:
		return 50 * time.Millisecond // the node has as many on their way as it may
	case len(l.later) == 0:
		return longest
	}
	return min(max(l.later[0].at.Sub(now), 0), longest)
}

// due moves what is due by now to its lane.
func (l *lanes) due(now time.Time) {
	for len(l.later) > 0 && !l.later[0].at.After(now) {
		e, ok := heap.Pop(&l.later).(due)
		if !ok || e.d.State != Pending || e.d.NextAt.Time().After(now) {
			continue // it was delivered, closed or put off since
		}
		lane := l.lane(e.d.ref())
		if lane.under[e.d.ID] || lane.waits(e.d.ID) {
			continue
		}
		if lane.until.After(now) {
			heap.Push(&l.later, due{lane.until, e.d})
			continue
		}
		lane.ready = append(lane.ready, e.d)
		l.wake(lane)
	}
}

func (l *lanes) lane(r ref) *lane {
	if l.of[r] == nil {
		l.of[r] = &lane{under: map[string]bool{}}
	}
	return l.of[r]
}

func (x *lane) waits(id string) bool {
	for _, d := range x.ready {
		if d.ID == id {
			return true
		}
	}
	return false
}

func (l *lanes) wake(x *lane) {
	if !x.waitings && len(x.ready) > 0 && len(x.under) < l.limit(x) {
		x.waitings = true
		l.ready = append(l.ready, x)
	}
}

func (l *lanes) limit(x *lane) int {
	if x.failing {
		return 1
	}
	return l.concurrency
}

// next takes a message that may go now, nil when there is none. take asks for a place on the node.
func (l *lanes) next(take func(failing bool) bool) (d *Delivery, failing bool) {
	for i := 0; i < len(l.ready); {
		x := l.ready[0]
		if len(x.ready) == 0 || len(x.under) >= l.limit(x) {
			l.ready, x.waitings = l.ready[1:], false
			continue
		}
		if x.ready[0].State != Pending {
			x.ready = x.ready[1:]
			continue
		}
		if !take(x.failing) {
			l.ready = append(l.ready[1:], x) // the others may have a place
			i++
			continue
		}
		d, x.ready = x.ready[0], x.ready[1:]
		x.under[d.ID] = true
		l.inFlight++
		return d, x.failing
	}
	return nil, false
}

// done has a lane know what became of its message, and reports whether the message was one to a failing webhook.
func (l *lanes) done(res result) bool {
	x := l.lane(res.ref)
	delete(x.under, res.id)
	l.inFlight--
	if !res.notMade && !res.closed {
		x.failing = !res.ok
	}
	if pause := max(res.retryAfter, holdFor(res)); pause > 0 {
		x.until = res.try.At.Time().Add(pause)
		for _, d := range x.ready {
			heap.Push(&l.later, due{x.until, d})
		}
		x.ready = nil
	}
	l.wake(x)
	return res.failing
}

// holdFor is how long a webhook that says that it has too much to do, and not until when, gets nothing.
func holdFor(res result) time.Duration {
	if res.hold {
		return DefaultSchedule[0]
	}
	return 0
}

// pending is how many deliveries wait in the outbox.
func (o *outbox) pending() int {
	n := 0
	for _, t := range o.targets {
		n += t.pending
	}
	return n
}
