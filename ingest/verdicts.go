package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const (
	// keepOutcomes is for how many offsets below the watermark a partition's exceptions are remembered: an event's
	// verdict may be here before its acknowledgement is.
	keepOutcomes = 1 << 16
	// markEvery is how often an acknowledgement's time is noted, to see how far behind the processor is.
	markEvery = 50 * time.Millisecond
	// maxMarks bounds the marks of a partition; beyond it none is added, for the first ones matter.
	maxMarks = 1024
)

// outcome is what a verdict says about one event.
type outcome struct {
	offset int64
	score  int
	alerts int
	first  int64 // of a duplicate, the id of the event that came first; else 0
}

// verdicts follows the verdicts of one partition for the requests that wait for them.
type verdicts struct {
	mu sync.Mutex
	// guards the following
	judged int64     // everything below has its verdict
	known  int64     // the verdicts of [known, judged) have been read; what lies below is another node's, or too old
	recent []outcome // exceptions, by rising offset, at least from judged-keepOutcomes on
	waits  []waiting // by rising offset
	marks  []mark    // acknowledged and not yet judged: some offsets, rising; none only if there is no such event
	newest mark      // the largest offset acknowledged
}

// waiting is a request that waits for the verdict of one event.
type waiting struct {
	offset int64
	on     *waiter
}

// mark notes when an offset was acknowledged.
type mark struct {
	offset int64
	at     time.Time
}

// waiter is one request that waits for some verdicts.
type waiter struct {
	left atomic.Int32
	done chan struct{} // closed when left is 0
}

func newWaiter(n int) *waiter {
	w := &waiter{done: make(chan struct{})}
	w.left.Store(int32(n))
	return w
}

func (w *waiter) judged() {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}

// follow reads the partition's verdicts from the newest on, until ctx is done.
func (v *verdicts) follow(ctx context.Context, c *broker.Client, partition int32) error {
	first, end, err := c.Offsets(ctx, schema.TopicVerdicts, partition)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	r := c.NewReader(schema.TopicVerdicts, partition, max(end-1, first))
	for {
		records, err := r.Fetch(ctx)
		var gone *broker.OffsetGoneError
		switch {
		case errors.As(err, &gone) && gone.Offset < gone.First: // retention has overtaken a node that was cut off
			r = c.NewReader(schema.TopicVerdicts, partition, gone.First)
		case err != nil:
			return unlessStopped(ctx, err)
		}
		for _, record := range records {
			verdict, err := schema.DecodeVerdict(record.Value)
			if err != nil {
				return fmt.Errorf("read verdict %d of partition %d: %w", record.Offset, partition, err)
			}
			v.add(&verdict)
		}
	}
}

// unlessStopped returns err, nil when it came because ctx is done.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // to be stopped is no failure
	}
	return err
}

// add takes a verdict in and wakes whoever waited for it.
func (v *verdicts) add(verdict *schema.Verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if verdict.To <= v.judged {
		return
	}
	if verdict.From > v.judged { // verdicts between were missed
		v.known = verdict.From
	}
	for i := range verdict.Exceptions {
		x := &verdict.Exceptions[i]
		if x.Offset >= v.judged {
			v.recent = append(v.recent, outcome{x.Offset, x.Score, len(x.Alerts) + x.FirstAlerts, x.DuplicateOf})
		}
	}
	v.judged = verdict.To
	v.known = max(v.known, v.judged-keepOutcomes)
	v.forgetOutcomes()
	v.marks = dropBelow(v.marks, v.judged, func(m mark) int64 { return m.offset })
	if len(v.marks) == 0 && v.newest.offset >= v.judged && !v.newest.at.IsZero() {
		v.marks = append(v.marks, v.newest)
	}
	for _, w := range v.waits {
		if w.offset >= v.judged {
			break
		}
		w.on.judged()
	}
	v.waits = dropBelow(v.waits, v.judged, func(w waiting) int64 { return w.offset })
}

// forgetOutcomes drops what lies below known, when that is most of them: so that each is moved once or so. The caller
// holds mu.
func (v *verdicts) forgetOutcomes() {
	if n := len(v.recent); n > 0 && v.recent[n/2].offset < v.known {
		v.recent = dropBelow(v.recent, v.known, func(o outcome) int64 { return o.offset })
	}
}

// dropBelow drops the elements of a rising slice that are below an offset.
func dropBelow[T any](s []T, offset int64, of func(T) int64) []T {
	i := 0
	for i < len(s) && of(s[i]) < offset {
		i++
	}
	if i == 0 {
		return s
	}
	return append(s[:0], s[i:]...)
}

// acknowledged notes that an offset is in the log, and has w (if any) told when it is judged.
func (v *verdicts) acknowledged(offset int64, now time.Time, w *waiter) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if offset < v.judged {
		if w != nil {
			w.judged()
		}
		return
	}
	if offset >= v.newest.offset {
		v.newest = mark{offset, now}
	}
	if n := len(v.marks); n == 0 || n < maxMarks && v.marks[n-1].offset < offset && now.Sub(v.marks[n-1].at) >= markEvery {
		v.marks = append(v.marks, mark{offset, now})
	}
	if w == nil {
		return
	}
	i := len(v.waits) // nearly always the last
	for i > 0 && v.waits[i-1].offset > offset {
		i--
	}
	v.waits = slices.Insert(v.waits, i, waiting{offset, w})
}

// behind says whether the processor has left an event without a verdict for longer than wait.
func (v *verdicts) behind(now time.Time, wait time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.marks) > 0 && now.Sub(v.marks[0].at) > wait
}

// forget drops a request that waits no longer.
func (v *verdicts) forget(w *waiter) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = slices.DeleteFunc(v.waits, func(x waiting) bool { return x.on == w })
}

// outcome returns what is known of an event; evaluated is false while it has no verdict, or had it so long ago that it
// is forgotten.
func (v *verdicts) outcome(offset int64, base int) (o outcome, evaluated bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o = outcome{offset: offset, score: base}
	if offset < v.known || offset >= v.judged {
		return o, false
	}
	i, found := slices.BinarySearchFunc(v.recent, offset, func(o outcome, offset int64) int { return int(o.offset - offset) })
	if found {
		o = v.recent[i]
	}
	return o, true
}
