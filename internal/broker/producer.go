package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"keypulse/schema"
)

// ProducerConfig bounds a producer.
type ProducerConfig struct {
	BatchBytes    int           // largest record batch; default 900 KiB, below the broker's usual 1 MiB
	BufferedBytes int64         // records accepted and not acknowledged, of all partitions; beyond it ErrBusy; default 64 MiB
	Timeout       time.Duration // from a batch's first try until its outcome is given up, and the longest that it queues; default 10 s
	Fragile       bool          // the broker is the embedded one: UNKNOWN_SERVER_ERROR ends Run with ErrBrokerFailed
}

// DefaultProducerConfig is what ingest uses.
func DefaultProducerConfig() ProducerConfig {
	return ProducerConfig{BatchBytes: 900 << 10, BufferedBytes: 64 << 20, Timeout: 10 * time.Second}
}

// Producer writes records to all partitions of a topic. There is no linger: a batch is what gathered while the one
// before it was under way. The queue is bounded by bytes; a full one refuses ([ErrBusy]).
type Producer struct {
	cfg      ProducerConfig
	lanes    []*queue
	buffered atomic.Int64
}

// NewProducer makes a producer for a topic of so many partitions. Records are delivered while [Producer.Run] runs.
func NewProducer(c *Client, topic schema.Topic, partitions int32, cfg ProducerConfig) *Producer {
	p := &Producer{cfg: cfg}
	for i := range partitions {
		p.lanes = append(p.lanes, &queue{
			lane: lane{client: c, topic: topic, partition: i, timeout: cfg.Timeout, fragile: cfg.Fragile},
			wake: make(chan struct{}, 1), buffered: &p.buffered,
		})
	}
	return p
}

// Run delivers until ctx is done and every record accepted before has its outcome. It returns early only with
// [ErrBrokerFailed].
func (p *Producer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, q := range p.lanes {
		g.Go(func() error { return q.run(ctx) })
	}
	return g.Wait()
}

// Buffered returns the bytes of records that wait for their acknowledgement.
func (p *Producer) Buffered() int64 { return p.buffered.Load() }

// Produce appends the records to their partitions and waits until each has its outcome; then every record has its
// Offset. An error wraps exactly one of [ErrBusy], [ErrNotWritten] and [ErrOutcomeUnknown], the last also when only some
// of the records are in the log. Keys and values are copied before it returns.
func (p *Producer) Produce(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	size := int64(0)
	for i := range records {
		n := records[i].size()
		if n+headerSize > int64(p.cfg.BatchBytes) {
			return fmt.Errorf("produce a record of %d bytes: larger than a batch of %d: %w", n, p.cfg.BatchBytes, ErrNotWritten)
		}
		size += n
	}
	if p.buffered.Add(size) > p.cfg.BufferedBytes {
		p.buffered.Add(-size)
		return fmt.Errorf("produce %d bytes: %w", size, ErrBusy)
	}
	f := flights.Get().(*flight)
	f.left.Store(int32(len(records)))
	f.err, f.written = nil, 0
	for i := range records {
		p.lanes[records[i].Partition].append(&records[i], f, p.cfg.BatchBytes)
	}
	for i := range records { // only now, so that a call's records of one partition leave in one batch
		p.lanes[records[i].Partition].wakeUp()
	}
	<-f.done
	err := f.err
	if err != nil && f.written > 0 && !errors.Is(err, ErrOutcomeUnknown) {
		// What is true of the records that failed is not true of all: only its text goes on.
		err = fmt.Errorf("%w: %d of %d records are written: %s", ErrOutcomeUnknown, f.written, len(records), err.Error())
	}
	flights.Put(f)
	return err
}

// flight is one call of Produce that waits.
type flight struct {
	left atomic.Int32
	done chan struct{} // of size 1

	mu      sync.Mutex
	err     error // guards the following: a failure, one of unknown outcome where there is any
	written int
}

var flights = sync.Pool{New: func() any { return &flight{done: make(chan struct{}, 1)} }}

// wait is a record of a batch and the call that waits for it.
type wait struct {
	record *Record
	flight *flight
}

func (w wait) resolve(offset int64, err error) {
	w.record.Offset = offset
	f := w.flight
	f.mu.Lock()
	if err == nil {
		f.written++
	} else if f.err == nil || errors.Is(err, ErrOutcomeUnknown) {
		f.err = err
	}
	f.mu.Unlock()
	if f.left.Add(-1) == 0 {
		f.done <- struct{}{}
	}
}

// queue gathers the batches of one partition.
type queue struct {
	lane     lane
	wake     chan struct{} // of size 1: there may be a batch
	buffered *atomic.Int64 // the producer's

	mu sync.Mutex
	// guards the following
	closed error
	filled []*batch // full batches that wait, oldest first
	open   *batch   // takes the next record; nil when empty
	free   []*batch // at most two, for reuse
}

func (q *queue) append(r *Record, f *flight, batchBytes int) {
	q.mu.Lock()
	if q.closed != nil {
		err := q.closed
		q.mu.Unlock()
		q.buffered.Add(-r.size())
		wait{r, f}.resolve(-1, err)
		return
	}
	if q.open != nil && int64(len(q.open.buf))+r.size() > int64(batchBytes) {
		q.filled = append(q.filled, q.open)
		q.open = nil
	}
	if q.open == nil {
		q.open = q.blank()
	}
	q.open.append(r)
	q.open.waits = append(q.open.waits, wait{r, f})
	q.mu.Unlock()
}

// wakeUp has run look for a batch.
func (q *queue) wakeUp() {
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

// next takes the oldest batch, nil when there is none.
func (q *queue) next() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.filled) > 0 {
		b := q.filled[0]
		q.filled = q.filled[1:]
		return b
	}
	b := q.open
	q.open = nil
	return b
}

// run delivers batches in order. When it ends, what is still queued and what comes later is refused.
func (q *queue) run(ctx context.Context) error {
	for {
		b := q.next()
		if b == nil {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
			}
			if b = q.next(); b == nil {
				q.close(fmt.Errorf("producer is closed: %w", ErrNotWritten))
				return nil
			}
		}
		offset, err := q.deliver(ctx, b)
		q.settle(b, offset, err)
		if errors.Is(err, ErrBrokerFailed) {
			q.close(fmt.Errorf("%w: %w", ErrBrokerFailed, ErrNotWritten))
			return err
		}
	}
}

// deliver hands a batch to the lane, but refuses one that has waited behind others for as long as the lane tries: so
// whoever waits for a record is answered within twice that time, however much is queued.
func (q *queue) deliver(ctx context.Context, b *batch) (int64, error) {
	if waited := time.Since(b.opened); waited > q.lane.timeout {
		return 0, fmt.Errorf("produce to %s/%d: queued for %v: %w", q.lane.topic, q.lane.partition, waited.Round(time.Millisecond), ErrNotWritten)
	}
	return q.lane.deliver(ctx, b)
}

// settle tells everyone who waits for b its outcome and keeps the batch for reuse. Its bytes are free first: who has an
// answer may send the next record at once.
func (q *queue) settle(b *batch, offset int64, err error) {
	size := int64(0)
	for _, w := range b.waits {
		size += w.record.size()
	}
	q.buffered.Add(-size)
	for i, w := range b.waits {
		w.resolve(offset+int64(i), err)
	}
	if b.lent {
		return
	}
	q.mu.Lock()
	if len(q.free) < 2 {
		q.free = append(q.free, b)
	}
	q.mu.Unlock()
}

func (q *queue) close(err error) {
	q.mu.Lock()
	q.closed = err
	q.mu.Unlock()
	for b := q.next(); b != nil; b = q.next() {
		q.settle(b, 0, err)
	}
}

// Append delivers records to one partition of a topic as one batch and returns the offset of the first. It is for
// single writers (a control record, a verdict) that have no use for a [Producer].
type Append struct {
	lane lane
	b    batch
}

// NewAppend makes an appender to a partition. One goroutine owns it.
func NewAppend(c *Client, topic schema.Topic, partition int32, cfg ProducerConfig) *Append {
	return &Append{lane: lane{client: c, topic: topic, partition: partition, timeout: cfg.Timeout, fragile: cfg.Fragile}}
}

// Records writes the records as one batch; the first gets the offset returned. Errors are those of [Producer.Produce].
func (a *Append) Records(ctx context.Context, records ...Record) (int64, error) {
	if a.b.lent {
		a.b = batch{}
	}
	a.b.reset()
	for i := range records {
		a.b.append(&records[i])
	}
	return a.lane.deliver(ctx, &a.b)
}
