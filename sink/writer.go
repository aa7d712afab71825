package sink

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/pause"
)

// drainTimeout is how long a sink that stops may take to store what it has read.
const drainTimeout = 5 * time.Second

// batch is the rows of one INSERT.
type batch struct {
	blocks []block // one for each partition
	spans  intent  // what blocks hold, in their order
	rows   int
	bytes  int // in memory
}

// add puts a chunk into the block of its partition.
func (b *batch) add(c chunk) {
	b.rows += len(c.rows)
	b.bytes += c.bytes
	for i := range b.spans {
		if b.spans[i].Partition == c.partition {
			b.blocks[i].rows = append(b.blocks[i].rows, c.rows...)
			b.spans[i].To, b.spans[i].Verdict = c.after.Offset, c.after.Verdict
			return
		}
	}
	b.blocks = append(b.blocks, block{c.partition, c.rows})
	b.spans = append(b.spans, span{
		Partition: c.partition, From: c.rows[0].Offset, To: c.after.Offset, Before: c.before.Verdict, Verdict: c.after.Verdict,
	})
}

func (s *Sink) full(b *batch) bool {
	return b.rows >= s.cfg.BatchRows || b.bytes >= s.cfg.BatchBytes || len(b.spans) == maxSpans
}

// gather collects chunks into batches while the one before is being stored. A batch is handed over when it is full, or its
// first row has waited long enough, and until somebody takes it it grows. When ctx is done, what is gathered is handed over,
// unless nobody is there any more.
func (s *Sink) gather(ctx context.Context, chunks <-chan chunk, batches chan<- *batch, gone <-chan struct{}) {
	defer close(batches)
	b, due := new(batch), false
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		in, out := chunks, batches
		if s.full(b) {
			in = nil
		} else if b.rows == 0 || !due {
			out = nil
		}
		select {
		case c := <-in:
			if b.rows == 0 {
				wait.Reset(s.cfg.BatchWait)
				due = false
			}
			b.add(c)
		case <-wait.C:
			due = true
		case out <- b:
			b = new(batch)
		case <-ctx.Done():
			if b.rows > 0 {
				select {
				case batches <- b:
				case <-gone:
				}
			}
			return
		}
	}
}

// writer stores one batch after another for one generation. One goroutine owns it.
type writer struct {
	sink       *Sink
	generation *broker.Generation
	owner      uint64 // its number in the fence
	last       intent // stored, and not yet committed as done
}

// run stores batches until there are no more. With nothing to store it closes the last intent, so that an idle sink leaves
// none open. Where closing fails nothing is lost: the next owner finds the intent open.
func (w *writer) run(ctx context.Context, batches <-chan *batch) error {
	idle := time.NewTimer(w.sink.cfg.BatchWait)
	defer idle.Stop()
	for {
		idle.Reset(w.sink.cfg.BatchWait)
		select {
		case b, more := <-batches:
			if !more {
				return w.flush(ctx, new(batch))
			}
			if err := w.flush(ctx, b); err != nil {
				return err
			}
		case <-idle.C:
			if err := w.flush(ctx, new(batch)); err != nil {
				return err
			}
		}
	}
}

// flush commits the intent of a batch, which also closes the last one, and stores it. An empty batch only closes.
func (w *writer) flush(ctx context.Context, b *batch) error {
	if b.rows == 0 && w.last == nil {
		return nil
	}
	commits, err := b.spans.commits(w.last)
	if err != nil {
		return err
	}
	if err := w.generation.Commit(ctx, commits); err != nil {
		return err
	}
	w.last = nil
	if b.rows == 0 {
		return nil
	}
	if err := w.store(ctx, b); err != nil {
		return err
	}
	w.sink.metrics.held.Sub(float64(b.bytes))
	w.last = b.spans
	return nil
}

// store sends the INSERT of the open intent. When that fails, nobody knows what has become of it: it is ended and settled,
// again and again while ClickHouse refuses or does not answer, and as long as the partitions are this sink's.
func (w *writer) store(ctx context.Context, b *batch) error {
	s, start := w.sink, time.Now()
	commits, err := b.spans.commits(nil)
	if err != nil {
		return err
	}
	err = s.store(ctx, w.owner, b.spans, b.blocks)
	for n := 0; err != nil; n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errMembership) {
			return err
		}
		s.metrics.failures.Inc()
		s.report(err)
		s.log.Warn("cannot store, looking and filling in", zap.Int("rows", b.rows), zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return err
		}
		err = w.settle(ctx, b, commits)
	}
	s.report(nil)
	s.metrics.inserted(b, time.Since(start))
	return nil
}

func (w *writer) settle(ctx context.Context, b *batch, commits []broker.Commit) error {
	s := w.sink
	if err := s.kill(ctx, b.spans); err != nil {
		return err
	}
	w.owner = newOwner() // what is still on its way, and begins after the next look, is refused
	if err := s.acquire(ctx, w.generation, w.owner, commits); err != nil {
		return err
	}
	if err := s.kill(ctx, b.spans); err != nil {
		return err
	}
	return s.settle(ctx, w.owner, b.spans, b.blocks)
}

// drain returns a context that outlives ctx by drainTimeout, so that a stop cuts no INSERT short.
func drain(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainTimeout, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}
