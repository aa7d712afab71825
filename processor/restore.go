package processor

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/processor/judge"
	"keypulse/schema"
)

// restored is what a checkpoint gave back.
type restored struct {
	judge    *judge.Judge
	offset   int64 // of the first event to read
	manifest manifest
}

// errIncomplete says that a manifest names chunks that are not there.
var errIncomplete = errors.New("chunks that the manifest names are missing")

// restore rebuilds the judge of a partition from its newest checkpoint: the one that the group's commit names or, where none
// is committed, the newest complete one in the state topic. Where there is none at all, or none that can be read, the
// judge starts empty at the first event that the log holds, and the replay rebuilds it.
func (p *Processor) restore(ctx context.Context, number int32, commit broker.Commit) (restored, error) {
	if commit.Metadata != "" {
		r, err := p.restoreCommitted(ctx, number, commit)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		p.log.Error("cannot restore the committed checkpoint", zap.Int32("partition", number), zap.Error(err))
	}
	return p.restoreNewest(ctx, number)
}

func (p *Processor) restoreCommitted(ctx context.Context, number int32, commit broker.Commit) (restored, error) {
	at, err := strconv.ParseInt(commit.Metadata, 10, 64)
	if err != nil {
		return restored{}, fmt.Errorf("read commit of partition %d: %w", number, err)
	}
	var named *manifest
	err = p.eachState(ctx, number, at, at+1, func(_ int64, m *manifest, _ chunk) error {
		named = m
		return nil
	})
	if err == nil && named == nil {
		err = fmt.Errorf("no manifest at offset %d", at)
	}
	if err != nil {
		return restored{}, fmt.Errorf("read manifest of partition %d: %w", number, err)
	}
	return p.apply(ctx, number, *named, at)
}

// restoreNewest looks through the whole state topic.
func (p *Processor) restoreNewest(ctx context.Context, number int32) (restored, error) {
	first, end, err := p.cfg.Client.Offsets(ctx, schema.TopicState, number)
	if err != nil {
		return restored{}, err
	}
	type found struct {
		manifest
		at int64
	}
	var manifests []found
	err = p.eachState(ctx, number, first, end, func(at int64, m *manifest, _ chunk) error {
		if m != nil {
			manifests = append(manifests, found{*m, at})
		}
		return nil
	})
	if err != nil {
		return restored{}, fmt.Errorf("look for a checkpoint of partition %d: %w", number, err)
	}
	for i := len(manifests) - 1; i >= 0; i-- {
		r, err := p.apply(ctx, number, manifests[i].manifest, manifests[i].at)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		p.log.Warn("passing over a checkpoint", zap.Int32("partition", number), zap.Int64("manifest", manifests[i].at), zap.Error(err))
	}
	if first, _, err = p.cfg.Client.Offsets(ctx, schema.TopicEvents, number); err != nil {
		return restored{}, err
	}
	if first > 0 {
		p.metrics.expired(p.log.With(zap.Int32("partition", number)), 0, first)
	}
	return restored{judge: p.newJudge(number), offset: first, manifest: manifest{Start: end}}, nil
}

// apply makes the judge that a manifest at an offset of the state topic describes.
func (p *Processor) apply(ctx context.Context, number int32, m manifest, at int64) (restored, error) {
	j := p.newJudge(number)
	wanted := newCutOrder(m.Spans)
	var body []byte
	parts := 0
	err := p.eachState(ctx, number, m.Start, at, func(_ int64, other *manifest, c chunk) error {
		if other != nil || !wanted.is(c) {
			return nil
		}
		if c.part == 0 { // also when a failed try left some of the cut before
			body, parts = body[:0], 0
		}
		if c.part != parts {
			return nil
		}
		body = append(body, c.body...)
		parts++
		if !c.last {
			return nil
		}
		wanted.next()
		err := j.ApplyChanges(body)
		return err
	})
	if err == nil && !wanted.done() {
		err = errIncomplete
	}
	if err != nil {
		j.Close()
		return restored{}, fmt.Errorf("restore partition %d: %w", number, err)
	}
	j.FinishChanges()
	return restored{judge: j, offset: m.Offset, manifest: m}, nil
}

// eachState calls f for the records of the partition's state from an offset to below another.
func (p *Processor) eachState(ctx context.Context, number int32, from, to int64, f func(at int64, m *manifest, c chunk) error) error {
	_, end, err := p.cfg.Client.Offsets(ctx, schema.TopicState, number)
	if err != nil {
		return err
	}
	if end < to {
		return fmt.Errorf("read state: it ends at offset %d, not %d: %w", end, to, errIncomplete)
	}
	for r := p.cfg.Client.NewReader(schema.TopicState, number, from); r.Next() < to; {
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for _, record := range records {
			if record.Offset >= to {
				return nil
			}
			m, c, err := parseState(record.Value)
			if err != nil {
				return fmt.Errorf("read state at offset %d: %w", record.Offset, err)
			}
			if err := f(record.Offset, m, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutOrder is the order in which a manifest's cuts must come.
type cutOrder struct {
	spans []span
	cut   int
}

func newCutOrder(spans []span) *cutOrder {
	o := &cutOrder{spans: spans}
	if len(spans) > 0 {
		o.cut = spans[0].First
	}
	return o
}

// is reports whether a chunk belongs to the cut that comes next.
func (o *cutOrder) is(c chunk) bool {
	return !o.done() && c.owner == o.spans[0].Owner && c.cut == o.cut
}

func (o *cutOrder) next() {
	if o.cut++; o.cut <= o.spans[0].Last {
		return
	}
	if o.spans = o.spans[1:]; len(o.spans) > 0 {
		o.cut = o.spans[0].First
	}
}

func (o *cutOrder) done() bool { return len(o.spans) == 0 }
