package processor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/broker"
	"keypulse/internal/pause"
	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	// maxVerdictBytes is about how large a verdict may grow before the chunk is cut; far below what the topic accepts.
	maxVerdictBytes = 1 << 20
	// maxCountsBytes is how much of a verdict rules' counts may be. More than a chunk has changed are there after a replay.
	maxCountsBytes = 2 << 20
)

// partition is one partition of one generation: its reader, its judge and its place in the log. Its state lives exactly
// as long as the generation.
type partition struct {
	number   int32
	book     *rules.Book
	judge    *judge.Judge
	reader   *broker.Reader
	verdicts *broker.Append
	judged   int64 // the watermark: verdicts for everything below it are in the log
	end      int64 // of the partition, when it was opened
	saver    *saver
	cutEvery time.Duration
	lastCut  time.Time
	lastSize uint64 // how many events there were at the last cut
	caughtUp *atomic.Bool
	metrics  *metrics
	log      *zap.Logger
	next     lookahead
	counts   []schema.RuleCounts // of the last verdict, for reuse
	value    []byte              // of the last verdict, for reuse
	reported judge.Counts        // to metrics
}

// openPartition finds the watermark of a partition whose state is restored in its verdicts.
func (p *Processor) openPartition(
	ctx context.Context, generation *broker.Generation, number int32, state restored, caughtUp *atomic.Bool,
) (*partition, error) {
	judged, err := p.watermark(ctx, number)
	if err != nil {
		return nil, err
	}
	first, end, err := p.cfg.Client.Offsets(ctx, schema.TopicEvents, number)
	if err != nil {
		return nil, err
	}
	log := p.log.With(zap.Int32("partition", number))
	if err := p.cfg.Book.Wait(ctx, state.judge.Rev()); err != nil { // the rules that it was judging with
		return nil, err
	}
	judged = max(judged, state.manifest.Offset) // the verdicts below a checkpoint may have expired
	if judged > end {
		return nil, fmt.Errorf("open partition %d: its verdicts reach offset %d, its events end at %d: the log was cut or made anew", number, judged, end)
	}
	if state.offset < first {
		p.metrics.expired(log, state.offset, first)
		state.offset = first
	}
	judged = max(judged, first)
	log.Debug("restored", zap.Int64("checkpoint", state.offset), zap.Int64("watermark", judged), zap.Int64("end", end), zap.Int("keys", state.judge.Keys()))
	return &partition{
		number: number, book: p.cfg.Book, judge: state.judge, judged: judged, end: end, caughtUp: caughtUp, metrics: p.metrics, log: log,
		reader:   p.cfg.Client.NewReader(schema.TopicEvents, number, state.offset),
		verdicts: broker.NewAppend(p.cfg.Client, schema.TopicVerdicts, number, p.cfg.Producer),
		saver:    p.newSaver(generation, number, state.manifest, log),
		cutEvery: p.cfg.CheckpointEvery,
		lastCut:  time.Now(),
		lastSize: state.judge.Counts().Events,
		reported: state.judge.Counts(),
	}, nil
}

// watermark is the offset below which everything is judged.
func (p *Processor) watermark(ctx context.Context, number int32) (int64, error) {
	last, found, err := p.cfg.Client.ReadLast(ctx, schema.TopicVerdicts, number)
	if err != nil || !found {
		return 0, err
	}
	verdict, err := schema.DecodeVerdict(last.Value)
	if err != nil {
		return 0, fmt.Errorf("read watermark of partition %d: %w", number, err)
	}
	return verdict.To, nil
}

// run judges the partition until the generation is over, and saves checkpoints beside it.
func (p *partition) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return p.saver.run(ctx) })
	err := p.judgeAll(ctx)
	if p.ahead() { // a last cut, so that the next owner has little to replay
		p.cut()
	}
	close(p.saver.cuts)
	err = errors.Join(err, g.Wait())
	p.metrics.forget(p)
	return err
}

// judgeAll is the partition's story: fetch, judge, write. Up to the watermark it only rebuilds its state; nothing is written
// twice.
func (p *partition) judgeAll(ctx context.Context) error {
	for {
		p.caughtUp.Store(p.ahead() && p.reader.Next() >= max(p.end, p.reader.End()))
		records, err := p.reader.Fetch(ctx)
		if p.expired(err) {
			continue
		}
		if err != nil {
			return err
		}
		for len(records) > 0 {
			verdict, n, err := p.judgeChunk(ctx, p.belowWatermark(records))
			if err != nil {
				return err
			}
			if err := p.write(ctx, verdict); err != nil {
				return err
			}
			records = records[n:]
		}
		p.metrics.observe(p)
		p.cutWhenDue()
	}
}

// expired reports whether a fetch failed because retention has dropped events before they were read; then it goes on with
// those that are there.
func (p *partition) expired(err error) bool {
	var gone *broker.OffsetGoneError
	if !errors.As(err, &gone) || gone.Offset >= gone.First {
		return false
	}
	p.metrics.expired(p.log, gone.Offset, gone.First)
	p.reader.SkipTo(gone.First)
	p.judged = max(p.judged, gone.First)
	return true
}

// ahead reports whether the replay is over: everything read is judged in the log, and all that was is read.
func (p *partition) ahead() bool { return p.reader.Next() == p.judged }

// cutWhenDue hands the changes to the saver when they have waited long enough or are many. While the saver is busy they
// wait on.
func (p *partition) cutWhenDue() {
	since := time.Since(p.lastCut)
	due := since >= p.cutEvery || p.judge.ChangedBytes() >= cutBytes && since >= p.cutEvery/10
	if due && p.ahead() {
		p.cut()
	}
}

func (p *partition) cut() {
	events := p.judge.Counts().Events
	if len(p.saver.cuts) == cap(p.saver.cuts) || events == p.lastSize {
		return
	}
	body, passed := p.judge.AppendChanges(p.saver.buffer())
	p.saver.cuts <- cut{offset: p.judged, body: body, passed: passed}
	p.lastCut, p.lastSize = time.Now(), events
}

// belowWatermark cuts records at the watermark, so that each verdict lies on one side of it.
func (p *partition) belowWatermark(records []broker.Record) []broker.Record {
	first, last := records[0].Offset, records[len(records)-1].Offset
	if first < p.judged && p.judged <= last {
		return records[:p.judged-first]
	}
	return records
}

// judgeChunk judges as many records as fit one verdict, and says how many.
func (p *partition) judgeChunk(ctx context.Context, records []broker.Record) (schema.Verdict, int, error) {
	verdict := schema.Verdict{From: records[0].Offset, To: records[0].Offset, LogTime: p.judge.LogTime()}
	size := -p.judge.UntoldBytes()
	for i := range records {
		r := &records[i]
		if i%decodeAhead == 0 {
			p.next.decode(records[i:])
			p.judge.Expect(p.next.events[:p.next.n])
		}
		e, err := &p.next.events[i%decodeAhead], p.next.errs[i%decodeAhead]
		if err != nil { // it keeps its offset, and the sink sets it aside
			p.metrics.undecodable.Inc()
			p.judge.Pass(r.Time)
			p.log.Error("cannot decode an event, passing over it", zap.Int64("offset", r.Offset), zap.Error(err))
			verdict.To = r.Offset + 1
			continue
		}
		if e.RulesRev > p.judge.Rev() {
			if err := p.book.Wait(ctx, e.RulesRev); err != nil {
				return verdict, 0, err
			}
		}
		x, exceptional := p.judge.Event(r.Offset, e)
		verdict.To = r.Offset + 1
		if exceptional {
			verdict.Exceptions = append(verdict.Exceptions, x)
			size += sizeOf(&x)
		}
		if size+p.judge.UntoldBytes() >= maxVerdictBytes {
			return verdict, i + 1, nil
		}
	}
	return verdict, len(records), nil
}

// decodeAhead is how many events are decoded before the first of them is judged.
const decodeAhead = 16

// lookahead is the events that are judged next. Their strings alias what was fetched.
type lookahead struct {
	events [decodeAhead]schema.Event
	errs   [decodeAhead]error
	n      int
}

// decode decodes the next events.
func (a *lookahead) decode(records []broker.Record) {
	a.n = min(len(records), decodeAhead)
	for i := range a.n {
		a.errs[i] = a.events[i].Decode(records[i].Key, records[i].Value, records[i].Time)
	}
}

// sizeOf estimates an exception's bytes in a verdict.
func sizeOf(x *schema.Exception) int {
	n := 32 + 64*len(x.Hits)
	for i := range x.Alerts {
		a := &x.Alerts[i]
		n += 128 + len(a.RuleID) + len(a.RuleName) + len(a.Message) + len(a.Values)
	}
	return n
}

// write puts a verdict into the log, unless it is there already, and moves the watermark.
func (p *partition) write(ctx context.Context, v schema.Verdict) error {
	if v.To <= p.judged {
		return nil
	}
	v.Counts = p.counts
	p.judge.Tell(&v, maxCountsBytes, p.metrics.told)
	p.counts = v.Counts
	p.value = v.AppendValue(p.value[:0])
	record := broker.Record{Value: p.value, Time: schema.MillisOf(time.Now())}
	// Whether or not a try has put it there already: readers skip a verdict that they have seen.
	err := insist(ctx, p.log, "write a verdict", func() error {
		_, err := p.verdicts.Records(ctx, record)
		return err
	})
	if err == nil {
		p.judged = v.To
	}
	return err
}

// insist calls f until it succeeds, ctx is done, or trying again cannot help.
func insist(ctx context.Context, log *zap.Logger, what string, f func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := f()
		if err == nil || ctx.Err() != nil || broker.Final(err) {
			return err
		}
		log.Warn("cannot "+what+", trying again", zap.Error(err))
		if pause.For(ctx, wait) != nil {
			return err
		}
	}
}
