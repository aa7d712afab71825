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

// writer gathers the rows of one INSERT after another for one generation. One goroutine owns it.
type writer struct {
	sink       *Sink
	generation *broker.Generation
	owner      uint64  // its number in the fence
	blocks     []block // at most one for each partition
	next       intent  // what blocks hold; its spans are in the order of blocks
	last       intent  // stored, and not yet committed as done
	rows       int
	bytes      int // of the rows in memory
}

// gather collects chunks until there are enough rows or bytes, or the first has waited long enough. With nothing to store it
// also ends when the last intent can be closed, so that an idle sink leaves none open.
func (w *writer) gather(ctx context.Context, chunks <-chan chunk) error {
	deadline := time.NewTimer(w.sink.cfg.BatchWait)
	defer deadline.Stop()
	for w.rows < w.sink.cfg.BatchRows && w.bytes < w.sink.cfg.BatchBytes && len(w.next) < maxSpans {
		var due <-chan time.Time
		if w.rows > 0 || w.last != nil {
			due = deadline.C
		}
		select {
		case c := <-chunks:
			if w.rows == 0 {
				deadline.Reset(w.sink.cfg.BatchWait)
			}
			w.add(c)
		case <-due:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// add puts a chunk into the block of its partition.
func (w *writer) add(c chunk) {
	w.rows += len(c.rows)
	w.bytes += c.bytes
	for i := range w.next {
		if w.next[i].Partition == c.partition {
			w.blocks[i].rows = append(w.blocks[i].rows, c.rows...)
			w.next[i].To, w.next[i].Verdict = c.after.Offset, c.after.Verdict
			return
		}
	}
	w.blocks = append(w.blocks, block{c.partition, c.rows})
	w.next = append(w.next, span{
		Partition: c.partition, From: c.rows[0].Offset, To: c.after.Offset, Before: c.before.Verdict, Verdict: c.after.Verdict,
	})
}

// flush commits the intent, which also closes the last one, and stores what was gathered.
func (w *writer) flush(ctx context.Context) error {
	if len(w.next) == 0 && w.last == nil {
		return nil
	}
	commits, err := w.next.commits(w.last)
	if err != nil {
		return err
	}
	if err := w.generation.Commit(ctx, commits); err != nil {
		return err
	}
	w.last = nil
	if len(w.next) == 0 {
		return nil
	}
	if err := w.store(ctx); err != nil {
		return err
	}
	w.sink.metrics.held.Sub(float64(w.bytes))
	w.last, w.next, w.blocks, w.rows, w.bytes = w.next, nil, nil, 0, 0
	return nil
}

// store sends the INSERT of the open intent. When that fails, nobody knows what has become of it: it is ended and settled,
// again and again while ClickHouse refuses or does not answer, and as long as the partitions are this sink's.
func (w *writer) store(ctx context.Context) error {
	s, start := w.sink, time.Now()
	commits, err := w.next.commits(nil)
	if err != nil {
		return err
	}
	err = s.store(ctx, w.owner, w.next, w.blocks)
	for n := 0; err != nil; n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errMembership) {
			return err
		}
		s.metrics.failures.Inc()
		s.report(err)
		s.log.Warn("cannot store, looking and filling in", zap.Int64("rows", w.next.rows()), zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return err
		}
		err = w.settle(ctx, commits)
	}
	s.report(nil)
	s.metrics.inserted(int64(w.rows), time.Since(start), w.blocks)
	return nil
}

func (w *writer) settle(ctx context.Context, commits []broker.Commit) error {
	s := w.sink
	if err := s.kill(ctx, w.next); err != nil {
		return err
	}
	if err := s.acquire(ctx, w.generation, w.owner, commits); err != nil {
		return err
	}
	if err := s.kill(ctx, w.next); err != nil {
		return err
	}
	return s.settle(ctx, w.owner, w.next, w.blocks)
}

// finish stores what was gathered and closes the last intent, when the sink stops or loses its partitions. Where that
// fails nothing is lost: the next owner finds the intent open, or reads the rows again.
func (w *writer) finish(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	return w.flush(ctx)
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
