package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// flight is one call of Produce that waits.
type flight struct {
	records []Record
	next    []int32 // of each record, the next one of its partition; -1 for none
	heads   []int32 // of each partition, its first record; -1 for none, as between two calls
	touched []int32 // the partitions that have records

	left atomic.Int32  // runs without an outcome, and one for Produce while it appends
	done chan struct{} // of size 1

	mu sync.Mutex
	// guards the following
	err     error // a failure, one of unknown outcome where there is any
	written int
}

// sort chains the records by partition, in their order.
func (f *flight) sort(records []Record) {
	f.records = records
	if cap(f.next) < len(records) {
		f.next = make([]int32, len(records))
	}
	f.next, f.touched = f.next[:len(records)], f.touched[:0]
	for i := len(records) - 1; i >= 0; i-- {
		p := records[i].Partition
		if f.heads[p] < 0 {
			f.touched = append(f.touched, p)
		}
		f.next[i], f.heads[p] = f.heads[p], int32(i)
	}
}

func (f *flight) landed() {
	if f.left.Add(-1) == 0 {
		f.done <- struct{}{}
	}
}

// run is what a batch has of a call: so many records of its chain, from the first on.
type run struct {
	flight       *flight
	first, count int32
}

func (r run) resolve(offset int64, err error) {
	f := r.flight
	if err == nil {
		for i, n := r.first, r.count; n > 0; i, n = f.next[i], n-1 {
			f.records[i].Offset = offset
			offset++
		}
	}
	f.mu.Lock()
	if err == nil {
		f.written += int(r.count)
	} else if f.err == nil || errors.Is(err, ErrOutcomeUnknown) {
		f.err = err
	}
	f.mu.Unlock()
	f.landed()
}

// queue gathers the batches of one partition. Who delivers is either the link to the partition's leader, in a request with the
// batches of other partitions, or the queue's own goroutine, one batch at a time: where there is no link, and whatever a link
// could not deliver at once. The one that has a batch has the lane, until the batch has its outcome.
type queue struct {
	lane     lane
	link     atomic.Pointer[link] // to the partition's leader, nil while it is not known
	wake     chan struct{}        // of size 1: there may be a batch for the queue's goroutine
	buffered *atomic.Int64        // the producer's

	mu sync.Mutex
	// guards the following
	closed error
	busy   bool     // somebody has the lane
	failed *batch   // which a link could not deliver: with the lane it is the goroutine's
	filled []*batch // full batches that wait, oldest first
	open   *batch   // takes the next record; nil when empty
	free   []*batch // at most two, for reuse
}

// append encodes the records of f's chain that begins at first.
func (q *queue) append(f *flight, first int32, batchBytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := first; i >= 0; {
		r := run{flight: f, first: i}
		if q.open == nil {
			q.open = q.blank()
		}
		b := q.open
		for ; i >= 0; i = f.next[i] {
			size := f.records[i].size()
			if b.count > 0 && int64(len(b.buf))+size > int64(batchBytes) {
				q.filled = append(q.filled, b)
				q.open = nil
				break
			}
			b.append(&f.records[i])
			b.bytes += size
			r.count++
		}
		if r.count > 0 {
			f.left.Add(1)
			b.runs = append(b.runs, r)
		}
	}
	if q.closed != nil {
		q.refuse()
	}
}

// refuse settles what waits, of a queue that is closed. The caller holds mu.
func (q *queue) refuse() {
	for b := q.pop(); b != nil; b = q.pop() {
		q.buffered.Add(-b.bytes)
		b.resolve(0, q.closed)
	}
}

// wakeUp has who delivers look for a batch.
func (q *queue) wakeUp() {
	if l := q.link.Load(); l != nil && l.up.Load() {
		l.wakeUp()
		return
	}
	q.wakeGoroutine()
}

func (q *queue) wakeGoroutine() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// blank returns an empty batch. The caller holds mu.
func (q *queue) blank() *batch {
	var b *batch
	if n := len(q.free); n > 0 {
		b, q.free = q.free[n-1], q.free[:n-1]
	} else {
		b = new(batch)
	}
	b.reset()
	b.opened = time.Now()
	return b
}

// oldest is the batch whose turn it is. The caller holds mu.
func (q *queue) oldest() *batch {
	if len(q.filled) > 0 {
		return q.filled[0]
	}
	return q.open
}

// pop removes the oldest batch. The caller holds mu.
func (q *queue) pop() *batch {
	b := q.oldest()
	if len(q.filled) > 0 {
		q.filled = q.filled[1:]
	} else {
		q.open = nil
	}
	return b
}

// fits says whether b may be sent at once, by a link. The caller holds mu, and nobody has the lane.
func (q *queue) fits(b *batch, now time.Time) bool {
	return q.lane.numbers(b.count) && now.Sub(b.opened) <= q.lane.timeout
}

// take gives l the oldest batch, and with it the lane; nil when there is none for l.
func (q *queue) take(l *link, now time.Time) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.oldest()
	if b == nil || q.busy || q.link.Load() != l {
		return nil
	}
	if !q.fits(b, now) {
		q.wakeGoroutine()
		return nil
	}
	q.busy = true
	return q.pop()
}

// next gives the queue's goroutine the oldest batch, and with it the lane; nil when there is none for it.
func (q *queue) next() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.failed; b != nil {
		q.failed = nil
		return b
	}
	b := q.oldest()
	if b == nil || q.busy {
		return nil
	}
	if l := q.link.Load(); l != nil && l.up.Load() && q.fits(b, time.Now()) {
		l.wakeUp()
		return nil
	}
	q.busy = true
	return q.pop()
}

// land is what a link does with a batch that was in a request: one that is acknowledged has its outcome, any other is the
// goroutine's from now on, with the lane.
func (q *queue) land(l *link, b *batch, offset int64, err error) {
	if err == nil {
		err = q.lane.acknowledged(b.count, offset)
	}
	if err != nil {
		b.failed = err
		q.mu.Lock()
		q.failed = b
		q.mu.Unlock()
		q.wakeGoroutine()
		return
	}
	q.settle(b, offset, nil)
	if q.link.Load() != l { // the one that is the leader's now may have found the lane busy
		q.wakeGoroutine()
	}
}

// run delivers batches in order. It ends when the links have, and nothing is queued any more; what comes later is refused.
func (q *queue) run(ctx context.Context, linksEnded <-chan struct{}) error {
	for {
		b := q.next()
		if b == nil {
			select {
			case <-q.wake:
				continue
			case <-linksEnded:
			}
			if b = q.next(); b == nil {
				q.close(fmt.Errorf("producer is closed: %w", ErrNotWritten))
				return nil
			}
		}
		offset, err := q.deliver(ctx, b)
		for _, fatal := range []error{ErrBrokerFailed, ErrOtherLog} {
			if errors.Is(err, fatal) {
				q.close(fmt.Errorf("%w: %w", fatal, ErrNotWritten))
				q.settle(b, 0, err)
				return err
			}
		}
		q.settle(b, offset, err)
	}
}

// deliver hands a batch to the lane, but refuses one that has waited behind others for as long as the lane tries: so
// whoever waits for a record is answered within twice that time, however much is queued.
func (q *queue) deliver(ctx context.Context, b *batch) (int64, error) {
	if waited := time.Since(b.opened); !b.sealed && waited > q.lane.timeout {
		return 0, fmt.Errorf("produce to %s/%d: queued for %v: %w", q.lane.topic, q.lane.partition, waited.Round(time.Millisecond), ErrNotWritten)
	}
	return q.lane.deliver(ctx, b)
}

// settle tells everyone who waits for b its outcome, gives the lane back and keeps the batch for reuse. Its bytes are free
// first: who has an answer may send the next record at once.
func (q *queue) settle(b *batch, offset int64, err error) {
	q.buffered.Add(-b.bytes)
	b.resolve(offset, err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	if !b.lent && len(q.free) < 2 {
		q.free = append(q.free, b)
	}
}

// resolve tells everyone who waits for the batch its outcome.
func (b *batch) resolve(offset int64, err error) {
	for _, r := range b.runs {
		r.resolve(offset, err)
		offset += int64(r.count)
	}
}

// close refuses what is queued and what comes later.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = err
	q.refuse()
}
