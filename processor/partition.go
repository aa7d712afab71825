package processor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/rules"
	"keypulse/schema"
)

// maxVerdictBytes is about how large a verdict may grow before the chunk is cut; far below what the topic accepts.
const maxVerdictBytes = 1 << 20

// partition is one partition of one generation: its reader, its judge and its place in the log. Its state lives exactly
// as long as the generation.
type partition struct {
	number   int32
	book     *rules.Book
	judge    *judge
	reader   *broker.Reader
	verdicts *broker.Append
	judged   int64 // the watermark: verdicts for everything below it are in the log
	caughtUp *atomic.Bool
	metrics  *metrics
	log      *zap.Logger
	value    []byte // of the last verdict, for reuse
	reported counts // to metrics
}

// openPartition finds the partition's watermark in its verdicts and its first event.
func (p *Processor) openPartition(ctx context.Context, number int32, caughtUp *atomic.Bool) (*partition, error) {
	last, found, err := p.cfg.Client.ReadLast(ctx, schema.TopicVerdicts, number)
	if err != nil {
		return nil, err
	}
	var verdict schema.Verdict
	if found {
		if verdict, err = schema.DecodeVerdict(last.Value); err != nil {
			return nil, fmt.Errorf("read watermark of partition %d: %w", number, err)
		}
	}
	first, end, err := p.cfg.Client.Offsets(ctx, schema.TopicEvents, number)
	if err != nil {
		return nil, err
	}
	if verdict.To > end {
		return nil, fmt.Errorf("open partition %d: its verdicts reach offset %d, its events end at %d: the log was cut or made anew", number, verdict.To, end)
	}
	p.log.Debug("replaying a partition", zap.Int32("partition", number), zap.Int64("from", first), zap.Int64("watermark", verdict.To), zap.Int64("end", end))
	return &partition{
		number:   number,
		book:     p.cfg.Book,
		judge:    newJudge(p.cfg.Book, p.cfg.Incarnation.Base, number, p.cfg.KeysPerTenant),
		reader:   p.cfg.Client.NewReader(schema.TopicEvents, number, first),
		verdicts: broker.NewAppend(p.cfg.Client, schema.TopicVerdicts, number, p.cfg.Producer),
		judged:   verdict.To,
		caughtUp: caughtUp,
		metrics:  p.metrics,
		log:      p.log.With(zap.Int32("partition", number)),
	}, nil
}

// run judges the partition until the generation is over: fetch, judge, write. Up to the watermark it only rebuilds its
// state; nothing is written twice.
func (p *partition) run(ctx context.Context) error {
	for {
		p.caughtUp.Store(p.judged >= p.reader.End() && p.reader.Next() >= p.judged)
		records, err := p.reader.Fetch(ctx)
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
	}
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
	verdict := schema.Verdict{From: records[0].Offset, To: records[0].Offset, LogTime: p.judge.logTime}
	size := 0
	for i := range records {
		r := &records[i]
		e, err := schema.DecodeEvent(r.Key, r.Value, r.Time)
		if err != nil { // it keeps its offset, and the sink sets it aside
			p.metrics.undecodable.Inc()
			p.log.Error("cannot decode an event, passing over it", zap.Int64("offset", r.Offset), zap.Error(err))
			verdict.To = r.Offset + 1
			continue
		}
		if e.RulesRev > p.judge.rev {
			if err := p.book.Wait(ctx, e.RulesRev); err != nil {
				return verdict, 0, err
			}
		}
		x, exceptional := p.judge.event(r.Offset, &e)
		verdict.To = r.Offset + 1
		if !exceptional {
			continue
		}
		verdict.Exceptions = append(verdict.Exceptions, x)
		if size += sizeOf(&x); size >= maxVerdictBytes {
			return verdict, i + 1, nil
		}
	}
	return verdict, len(records), nil
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
	p.value = v.AppendValue(p.value[:0])
	record := broker.Record{Value: p.value, Time: schema.MillisOf(time.Now())}
	for {
		_, err := p.verdicts.Records(ctx, record)
		if err == nil {
			p.judged = v.To
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, broker.ErrBrokerFailed) {
			return err
		}
		// Whether or not it is there already: readers skip a verdict that they have seen.
		p.log.Warn("cannot write a verdict, trying again", zap.Error(err))
	}
}
