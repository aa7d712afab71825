package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const (
	tickEvery = 250 * time.Millisecond // digests, webhooks that were disabled
	// proveEvery is how often a partition's owner proves that it still is.
	proveEvery = time.Second
	// drainTime is how long messages that are on their way may take when the partition goes to another node. It is shorter
	// than the group waits for its members.
	drainTime = 2 * time.Second
	// webhooksWait bounds the wait for a webhook that a notice knows and this node does not yet.
	webhooksWait = 5 * time.Second
)

// errNotAlone says that somebody else has written to the outbox: another node owns the partition, or one that was paused
// did not know yet that it does not. What is decided here counts only after it was read.
var errNotAlone = errors.New("somebody else has written to the outbox")

// partition is one partition of the notices with its outbox, while this node owns it. One goroutine owns all but proven.
type partition struct {
	n          *Notifier
	generation *broker.Generation
	number     int32
	log        *zap.Logger

	desk  *desk
	out   *broker.Append
	start int64 // of what the outbox needs
	end   int64 // the offset that the next record gets, if nobody else writes

	lanes   *lanes
	sending context.Context // ends attempts
	senders sync.WaitGroup
	results chan result
	proven  atomic.Pointer[time.Time] // when the last proof began that the partition is ours
	swept   int64                     // the webhooks' revision of the last sweep
}

// chunk is what was read of the notices.
type chunk struct {
	records []schema.NoticeRecord
	offsets []int64
}

// own sends a partition's notices until ctx is done.
func (n *Notifier) own(ctx context.Context, generation *broker.Generation, at broker.Commit) error {
	p := &partition{
		n: n, generation: generation, number: at.Partition, log: n.log.With(zap.Int32("partition", at.Partition)),
		out:     broker.NewAppend(n.cfg.Client, schema.TopicOutbox, at.Partition, broker.DefaultProducerConfig()),
		lanes:   newLanes(n.cfg.Concurrency),
		results: make(chan result, 2*n.cfg.InFlight), // room for all that can be under way: no sender ever waits
	}
	if err := p.replay(ctx); err != nil {
		return err
	}
	if err := p.prove(ctx); err != nil {
		return err
	}
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	p.sending = sending
	reading, stop := context.WithCancel(ctx)
	chunks, failed := make(chan chunk), make(chan error, 1)
	next := p.desk.box.next
	go func() { failed <- p.read(reading, next, chunks) }()
	err := p.run(ctx, chunks, failed)
	stop()
	if !errors.Is(err, errNotAlone) { // else what is under way is somebody else's, too
		p.drain(context.WithoutCancel(ctx))
	}
	cut()
	p.senders.Wait()
	for len(p.results) > 0 {
		p.give(<-p.results)
		n.metrics.attempts.WithLabelValues(outcomeCut).Inc()
	}
	if !errors.Is(err, errRead) { // else it has ended
		if err := <-failed; !errors.Is(err, context.Canceled) {
			p.log.Info("the reader of notices has failed, too", zap.Error(err))
		}
	}
	n.metrics.pending.DeleteLabelValues(strconv.Itoa(int(p.number)))
	return err
}

// replay makes the outbox from its records.
func (p *partition) replay(ctx context.Context) error {
	box, first, next, err := replay(ctx, p.n.cfg.Client, p.number)
	if err != nil {
		return err
	}
	p.start, p.end = first, next
	cfg := p.n.cfg
	p.desk = &desk{box: box, webhooks: cfg.Webhooks, silences: cfg.Silences, tags: cfg.Tags, schedule: cfg.Schedule}
	now := time.Now()
	for _, d := range box.deliveries {
		if d.State == Pending {
			p.lanes.add(d)
			if !d.NextAt.Time().After(now) {
				p.n.metrics.inDoubt.Inc()
			}
		}
	}
	return nil
}

// replay reads an outbox from its first record to its last.
func replay(ctx context.Context, c *broker.Client, number int32) (box *outbox, first, next int64, err error) {
	first, end, err := c.Offsets(ctx, schema.TopicOutbox, number)
	if err != nil {
		return nil, 0, 0, err
	}
	box = newOutbox()
	r := c.NewReader(schema.TopicOutbox, number, first)
	for r.Next() < end {
		if err := follow(ctx, r, box); err != nil {
			return nil, 0, 0, err
		}
	}
	return box, first, r.Next(), nil
}

// follow applies the records that a reader has next.
func follow(ctx context.Context, r *broker.Reader, box *outbox) error {
	records, err := r.Fetch(ctx)
	if err != nil {
		return err
	}
	for i := range records {
		x, err := decodeRecord(records[i].Value)
		if err != nil {
			return fmt.Errorf("read outbox at %d: %w", records[i].Offset, err)
		}
		box.apply(&x)
	}
	return nil
}

// prove has the group say that the partition is ours: it refuses the commit of anybody else.
func (p *partition) prove(ctx context.Context) error {
	began := time.Now()
	if err := p.generation.Commit(ctx, []broker.Commit{{Partition: p.number, Offset: p.desk.box.next}}); err != nil {
		return err
	}
	p.proven.Store(&began)
	return nil
}

// isOurs reports whether the partition was proven to be ours so lately that nobody else can have it yet.
func (p *partition) isOurs() bool { return time.Since(*p.proven.Load()) < p.n.cfg.ProofAge }

var errRead = errors.New("cannot read the notices")

// read hands over the notices from an offset on. They are read no further than they are taken: what waits, waits in the log.
func (p *partition) read(ctx context.Context, from int64, chunks chan<- chunk) error {
	r := p.n.cfg.Client.NewReader(schema.TopicNotices, p.number, from)
	for {
		records, err := r.Fetch(ctx)
		var gone *broker.OffsetGoneError
		if errors.As(err, &gone) && gone.Offset < gone.First {
			p.n.metrics.expired.Add(float64(gone.First - gone.Offset))
			p.log.Error("notices expired before they were read: their alerts are sent to nobody", zap.Int64("notices", gone.First-gone.Offset))
			r.SkipTo(gone.First)
			continue
		}
		if err != nil {
			return err
		}
		var c chunk
		for i := range records {
			n, err := schema.DecodeControl[schema.NoticeRecord](records[i].Value)
			if err != nil {
				p.log.Warn("a notice that cannot be read is passed over", zap.Int64("offset", records[i].Offset), zap.Error(err))
			}
			c.records, c.offsets = append(c.records, n), append(c.offsets, records[i].Offset)
		}
		if len(c.records) == 0 {
			continue
		}
		select {
		case chunks <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run decides, writes what was decided, and only then acts, until ctx is done.
func (p *partition) run(ctx context.Context, chunks <-chan chunk, failed chan error) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	proved := time.Now()
	for {
		due := time.NewTimer(p.lanes.wait(time.Now()))
		var decided []record
		var gone []result
		select {
		case c := <-chunks:
			decided = p.take(ctx, c)
		case res := <-p.results:
			decided, gone = p.outcomes(res)
		case now := <-tick.C:
			decided = p.desk.digests(now)
			if rev := p.n.cfg.Webhooks.Rev(); rev != p.swept {
				decided, p.swept = append(decided, p.desk.sweep(now)...), rev
			}
		case <-due.C:
		case err := <-failed:
			if ctx.Err() != nil {
				failed <- err
				return ctx.Err()
			}
			return fmt.Errorf("%w: %w", errRead, err)
		case <-ctx.Done():
			return ctx.Err()
		}
		due.Stop()
		if err := p.write(ctx, decided); err != nil {
			return err
		}
		for _, res := range gone {
			p.disable(ctx, res)
		}
		if time.Since(proved) >= proveEvery {
			if err := p.prove(ctx); err != nil {
				return err
			}
			proved = time.Now()
		}
		p.send(time.Now())
	}
}

// take decides what becomes of some notices.
func (p *partition) take(ctx context.Context, c chunk) []record {
	decided := make([]record, 0, len(c.records))
	for i := range c.records {
		n := &c.records[i]
		if n.WebhooksRev > p.n.cfg.Webhooks.Rev() {
			wait, cancel := context.WithTimeout(ctx, webhooksWait)
			_ = p.n.cfg.Webhooks.Wait(wait, n.WebhooksRev) // without it the webhook is unknown, as the attempt will say
			cancel()
		}
		r := p.desk.take(n, c.offsets[i], time.Now())
		p.n.metrics.notices.WithLabelValues(string(n.Kind)).Inc()
		p.n.metrics.gathered.Add(float64(len(r.Gather)))
		if r.Hide != nil {
			p.n.metrics.hidden.Inc()
		}
		decided = append(decided, r)
	}
	return decided
}

// outcomes decides what follows from an attempt, and from all others that have ended by now. Of those whose webhook is to
// be disabled it returns the results.
func (p *partition) outcomes(res result) (decided []record, gone []result) {
	for {
		p.give(res)
		r, disable := p.desk.outcome(res, time.Now())
		if disable != "" {
			res.disable = disable
			gone = append(gone, res)
		}
		for _, d := range r.Deliveries {
			decided = append(decided, r)
			p.count(d, res)
		}
		if x := p.desk.box.deliveries[res.id]; x != nil && x.State == Pending && res.notMade {
			p.lanes.add(x)
		}
		select {
		case res = <-p.results:
		default:
			return decided, gone
		}
	}
}

// give frees the place that a message had on its way.
func (p *partition) give(res result) {
	if p.lanes.done(res) {
		p.n.failing.give()
	} else {
		p.n.working.give()
	}
}

func (p *partition) count(d *Delivery, res result) {
	var outcome string
	switch d.State {
	case Pending:
		outcome = outcomeRetried
	case Delivered:
		outcome = outcomeDelivered
		if d.Type == typeAlert && res.ok {
			p.n.metrics.delay.Observe(time.Since(d.Timestamp.Time()).Seconds())
		}
	case Failed:
		outcome = outcomeFailed
	}
	p.n.metrics.attempts.WithLabelValues(outcome).Inc()
}

// write puts decisions into the log. When it returns nil they hold, and what they have made pending is in the lanes.
func (p *partition) write(ctx context.Context, decided []record) error {
	records := make([]broker.Record, len(decided))
	now := schema.MillisOf(time.Now())
	for i := range decided {
		records[i] = broker.Record{Value: mustMarshal(&decided[i]), Time: now}
	}
	if err := eachBatch(records, func(batch []broker.Record) error { return p.append(ctx, batch) }); err != nil {
		return err
	}
	for i := range decided {
		for _, d := range decided[i].Deliveries {
			if x := p.desk.box.deliveries[d.ID]; x != nil && x.State == Pending {
				p.lanes.add(x)
			}
		}
	}
	if len(decided) == 0 {
		return nil
	}
	p.n.metrics.pending.WithLabelValues(strconv.Itoa(int(p.number))).Set(float64(p.desk.box.pending()))
	return p.compact(ctx)
}

// append writes a batch. Its place in the log says whether somebody else has written since.
func (p *partition) append(ctx context.Context, batch []broker.Record) error {
	offset, err := p.out.Records(ctx, batch...)
	if err != nil {
		return err
	}
	if offset != p.end {
		return fmt.Errorf("%w: %d records at %d, not %d", errNotAlone, len(batch), offset, p.end)
	}
	p.end += int64(len(batch))
	return nil
}

// compact writes the outbox anew and deletes its records until then, when most of them are of no use any more.
func (p *partition) compact(ctx context.Context) error {
	if p.end-p.start <= p.n.cfg.CompactAfter+4*int64(len(p.desk.box.deliveries)) {
		return nil
	}
	p.desk.prune(time.Now())
	all := p.desk.box.whole()
	records := make([]broker.Record, len(all))
	now := schema.MillisOf(time.Now())
	for i := range all {
		records[i] = broker.Record{Value: mustMarshal(&all[i]), Time: now}
	}
	start := p.end
	if err := eachBatch(records, func(batch []broker.Record) error { return p.append(ctx, batch) }); err != nil {
		return err
	}
	p.start = start
	return p.n.cfg.Client.DeleteBefore(ctx, schema.TopicOutbox, p.number, start)
}

// send begins the attempts that are due.
func (p *partition) send(now time.Time) {
	if !p.isOurs() {
		return
	}
	p.lanes.due(now)
	for {
		d, failing := p.lanes.next(p.budget)
		if d == nil {
			return
		}
		x := *d // the outbox's may change meanwhile
		p.senders.Go(func() { p.results <- p.attempt(x, failing) })
	}
}

// budget takes a place for a message to a webhook that works, or to one that does not.
func (p *partition) budget(failing bool) bool {
	b := &p.n.working
	if failing {
		b = &p.n.failing
	}
	if b.take() {
		return true
	}
	p.n.metrics.held.Inc()
	return false
}

var errNotOurs = errors.New("the partition may be another node's by now")

func (p *partition) attempt(d Delivery, failing bool) result {
	res := result{id: d.ID, ref: d.ref(), failing: failing}
	w, ok := p.n.cfg.Webhooks.Get(d.Tenant, d.Webhook)
	switch {
	case !p.isOurs():
		res.try = Try{At: schema.MillisOf(time.Now()), Error: errNotOurs.Error()}
		res.notMade = true
		return res
	case !ok || w.Record.Deleted || w.Record.Disabled != "":
		res.try, res.closed = Try{At: schema.MillisOf(time.Now()), Error: reasonDisabled}, true
		return res
	}
	made := p.n.sender.attempt(p.sending, &w.Record, &d)
	made.ref, made.failing = res.ref, res.failing
	return made
}

// disable writes that a webhook is disabled.
func (p *partition) disable(ctx context.Context, res result) {
	v, ok := p.n.cfg.Webhooks.Get(res.ref.Tenant, res.ref.ID)
	if !ok || v.Record.Deleted || v.Record.Disabled != "" {
		return
	}
	r := v.Record
	r.Version, r.Disabled, r.By, r.At = r.Version+1, res.disable, "notifier", schema.MillisOf(time.Now())
	if err := p.n.cfg.Disable(ctx, r); err != nil {
		p.log.Warn("cannot disable a webhook; its next message will try again", zap.String("webhook", r.ID), zap.Error(err))
		return
	}
	p.log.Info("disabled a webhook", zap.String("tenant", string(r.Tenant)), zap.String("webhook", r.ID), zap.String("reason", res.disable))
}

// drain waits a while for the messages on their way, and writes what became of them.
func (p *partition) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for p.lanes.inFlight > 0 {
		select {
		case res := <-p.results:
			decided, _ := p.outcomes(res)
			if err := p.write(ctx, decided); err != nil {
				p.log.Info("what became of messages is not in the log: the next owner sends them again", zap.Int("messages", len(decided)), zap.Error(err))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
