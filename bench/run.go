package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"keypulse/schema"
)

var errBadAnswer = errors.New("answer is not the API's")

// errorPause keeps a closed loop from spinning on refused requests: acks set its pace, and there are none.
const errorPause = 10 * time.Millisecond

// Run loads the instance as cfg says and returns what it measured. It blocks until the last request is answered or
// timed out. When ctx ends first, it sends no more and returns what it has together with an error that wraps ctx's.
// Requests that fail are no error of Run: the Report counts them. The rule that Config.Alerts makes is deleted in any
// case; the events stay.
func Run(ctx context.Context, cfg Config) (report Report, err error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	root, err := cfg.parseURL()
	if err != nil {
		return Report{}, invalid("URL", err)
	}
	r := &runner{cfg: cfg, client: newClient(&cfg, root), gen: newGenerator(&cfg)}
	defer r.client.host.CloseIdleConnections()
	if cfg.Alerts {
		if err = r.makeRule(); err != nil {
			return Report{}, fmt.Errorf("set up bench: %w", err)
		}
		defer func() { err = errors.Join(err, r.dropRule()) }()
		if err = r.awaitRule(ctx); err != nil {
			return Report{}, fmt.Errorf("set up bench: %w", err)
		}
	}
	if _, err = r.runPhase(ctx, cfg.warmUp(), newTally(), nil); err != nil {
		return Report{}, fmt.Errorf("warm up: %w", err)
	}
	return r.measure(ctx)
}

// runner is one run.
type runner struct {
	cfg    Config
	client *client
	gen    *generator
}

// measure runs the measured phase, and beside it the watcher of the alerts.
func (r *runner) measure(ctx context.Context) (Report, error) {
	report := Report{Setup: setupOf(&r.cfg), StartedAt: schema.MillisOf(time.Now())}
	var watch *watcher
	var watching sync.WaitGroup
	if r.cfg.Alerts {
		watch = newWatcher(r.client, ruleID(r.cfg.Seed))
		watching.Go(func() { watch.run(ctx) })
	}
	t := newTally()
	length, err := r.runPhase(ctx, r.cfg.measured(), t, watch)
	if watch != nil {
		close(watch.offered)
		watching.Wait()
		watch.report(&report)
	}
	t.report(&report)
	report.setLength(length)
	if err != nil {
		return report, fmt.Errorf("run bench: %w", err)
	}
	return report, nil
}

// runPhase sends a plan's slots over all connections and returns how long that took.
func (r *runner) runPhase(ctx context.Context, p plan, t *tally, watch *watcher) (time.Duration, error) {
	workers, err := r.newWorkers(ctx, t, watch)
	defer func() {
		for _, w := range workers {
			w.close()
		}
	}()
	if err != nil {
		return 0, err
	}
	ph := newPhase(p, time.Now())
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = w.run(ctx, ph) })
	}
	wg.Wait()
	err = errors.Join(errors.Join(errs...), ctx.Err())
	return ph.length(time.Now(), err == nil), err
}

func (r *runner) newWorkers(ctx context.Context, t *tally, watch *watcher) ([]*worker, error) {
	workers := make([]*worker, 0, r.cfg.Connections)
	for range r.cfg.Connections {
		alarm, err := newAlarm(ctx)
		if err != nil {
			return workers, err
		}
		workers = append(workers, &worker{
			runner: r, tally: t, watch: watch, alarm: alarm, post: r.client.newPost(&r.cfg),
		})
	}
	return workers, nil
}

// worker sends one request at a time. Buffers are its own and reused.
type worker struct {
	*runner
	tally  *tally
	watch  *watcher // nil = nobody watches
	alarm  *alarm
	post   *call
	body   []byte
	answer answer
}

func (w *worker) close() {
	w.alarm.close()
	w.post.close()
}

// run claims slots until there are none or ctx ends.
func (w *worker) run(ctx context.Context, ph *phase) error {
	for ctx.Err() == nil {
		slot, ok := ph.claim()
		if !ok {
			return nil
		}
		claimed := time.Now()
		w.body = w.gen.appendBody(w.body[:0], ph.number, slot, ph.size(slot))
		due := claimed
		if ph.openLoop() {
			due = ph.start.Add(ph.due(slot))
			sent, err := w.await(ctx, claimed, due, ph.size(slot))
			if err != nil {
				return err
			}
			if !sent {
				continue
			}
		}
		if acked := w.send(ph, slot, due); !acked && !ph.openLoop() {
			if err := w.alarm.wait(time.Now().Add(errorPause)); err != nil {
				return err
			}
		}
	}
	return nil
}

// await blocks until due. A slot that was due when it was claimed had to wait for a free connection: it is late, and
// after the timeout given up, which bounds the backlog of a server that cannot keep up. False: do not send.
func (w *worker) await(ctx context.Context, claimed, due time.Time, events int) (bool, error) {
	if claimed.After(due) {
		sent := claimed.Sub(due) <= w.cfg.Timeout
		w.tally.wait(events, sent)
		return sent, nil
	}
	if err := w.alarm.wait(due); err != nil {
		return false, err
	}
	return ctx.Err() == nil, nil
}

// send posts the worker's body and counts what became of it.
func (w *worker) send(ph *phase, slot int64, due time.Time) (acked bool) {
	sent := time.Now()
	if !ph.openLoop() {
		due = sent
	}
	status, reply, err := w.post.do(w.body)
	now := time.Now()
	o := outcome{status: status, scheduled: now.Sub(due), service: now.Sub(sent), events: ph.size(slot)}
	switch {
	case err != nil:
		o.errorKind, o.errorText = errorKind(err), err.Error()
	case status == fasthttp.StatusTooManyRequests:
	case status != fasthttp.StatusCreated && status != fasthttp.StatusAccepted:
		o.errorKind, o.errorText = refusal(status, reply)
	case !w.answer.read(reply, w.cfg.Batch > 1) || len(w.answer.ids) != o.events:
		o.errorKind, o.errorText = errBadAnswer.Error(), errBadAnswer.Error()
	default:
		o.answer = &w.answer
	}
	w.tally.record(&o)
	if o.answer == nil {
		return false
	}
	if w.watch != nil {
		w.offerProbes(slot, due)
	}
	return true
}

// offerProbes hands the slot's acked probes to the watcher.
func (w *worker) offerProbes(slot int64, due time.Time) {
	for i, id := range w.answer.ids {
		if w.gen.isProbe(slot*int64(w.gen.batch) + int64(i)) {
			w.watch.offer(id, due)
		}
	}
}
