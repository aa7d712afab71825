package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/varint"
	"keypulse/schema"
)

// A checkpoint of a partition is a row of cuts. A cut holds what the judge has changed since the cut before, and, in turn,
// some of what it has not: once a pass over everything is complete, the cuts before that pass are not needed any more. Cuts
// are chunks in the state topic, followed by a manifest that names the cuts that make the state up to an offset; the group's
// commit of that offset names the manifest. Chunks of an owner that lost the partition are named by no manifest that counts.

const (
	// cutBytes of changes make a cut early, but not before a tenth of CheckpointEvery.
	cutBytes = 1 << 20
	// chunkBytes is the most that one record of the state topic holds of a cut.
	chunkBytes = 512 << 10
	// batchChunks is how many chunks are written at once.
	batchChunks = 8
	// saveTimeout bounds each request of a cut.
	saveTimeout = 4 * time.Second
)

// cut is a piece of a checkpoint that is to be written.
type cut struct {
	offset int64  // of the first event that is not in it
	body   []byte // see judge.AppendChanges
	passed bool   // a pass over everything is complete with this cut
}

// span names cuts of one owner, First to Last.
type span struct {
	Owner string `json:"owner"`
	First int    `json:"first"`
	Last  int    `json:"last"`
}

// manifest names the cuts that make the state below Offset. It is JSON in the state topic, so that kcat shows it.
type manifest struct {
	Offset int64  `json:"offset"` // of the first event that is not in the state
	Start  int64  `json:"start"`  // in the state topic: the first chunk needed is there or later
	Spans  []span `json:"spans"`  // in the order in which they are applied
}

// chunk is a record of the state topic that is no manifest: a part of a cut.
type chunk struct {
	owner string
	cut   int
	part  int  // of the cut, from 0
	last  bool // of its cut
	body  []byte
}

// chunkHead is more than a chunk has besides its body: an owner is a UUID.
const chunkHead = 96

// chunkMark begins a chunk; a manifest begins with a brace.
const chunkMark = 1

func (c chunk) append(b []byte) []byte {
	b = append(b, chunkMark)
	b = varint.AppendString(b, c.owner)
	b = varint.AppendInt(b, c.cut)
	b = varint.AppendInt(b, c.part)
	b = varint.AppendBool(b, c.last)
	return append(b, c.body...)
}

// parseState reads a record of the state topic: a manifest, or a chunk.
func parseState(value []byte) (m *manifest, c chunk, err error) {
	if len(value) > 0 && value[0] == '{' {
		m = new(manifest)
		if err := json.Unmarshal(value, m); err != nil {
			return nil, c, fmt.Errorf("decode manifest: %w", err)
		}
		return m, c, nil
	}
	r := varint.NewReader(value)
	mark := r.Bool()
	c = chunk{owner: r.String(), cut: int(r.Int()), part: int(r.Int()), last: r.Bool()}
	if r.Err() != nil || !mark {
		return nil, c, fmt.Errorf("decode chunk: %w", varint.ErrDamaged)
	}
	c.body = value[len(value)-r.Len():]
	return nil, c, nil
}

// saver writes the cuts of one partition of one generation. Its goroutine ends when cuts is closed.
type saver struct {
	owner      string
	partition  int32
	client     *broker.Client
	generation *broker.Generation
	state      *broker.Append
	cuts       chan cut    // of size 1: while one is written, changes gather for the next
	free       chan []byte // of size 1: the body of a cut that is written, for the next
	room       []byte      // of the records of the last cut, for the next
	metrics    *metrics
	log        *zap.Logger

	spans    []span // the manifest's so far
	start    int64  // the manifest's
	cleaned  int64  // what lies below is deleted
	number   int    // of the next cut
	passFrom int64  // where in the state topic the pass under way began; -1 before its first cut
	passCut  int    // its first cut
}

// run writes cuts until there are no more. When it fails, which ends the generation, the last manifest stays in force: the next
// owner replays from there.
func (s *saver) run(ctx context.Context) error {
	for c := range s.cuts {
		begin := time.Now()
		if err := s.save(ctx, c); err != nil {
			for range s.cuts { // so that nobody waits for us; the judge ends with the generation
			}
			return err
		}
		s.metrics.checkpoint.Observe(time.Since(begin).Seconds())
		s.metrics.checkpointBytes.Add(float64(len(c.body)))
	}
	return nil
}

// buffer is an empty body for a cut.
func (s *saver) buffer() []byte {
	select {
	case b := <-s.free:
		return b[:0]
	default:
		return nil
	}
}

// save writes a cut with its manifest, commits, and drops what no manifest needs any more. It insists, for a cut that is lost
// would be missing from all that follow; the last one of a generation gets one try.
func (s *saver) save(ctx context.Context, c cut) error {
	records := s.chunks(c)
	select {
	case s.free <- c.body: // its bytes are in the records now
	default:
	}
	m := s.extend(c)
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	records = append(records, broker.Record{Value: value, Time: schema.MillisOf(time.Now())})
	var first, last int64
	err = insist(ctx, s.log, "write a checkpoint", func() error {
		first, last, err = s.write(ctx, records)
		return err
	})
	if err != nil {
		return err
	}
	s.advance(c, first)
	commit := broker.Commit{Partition: s.partition, Offset: c.offset, Metadata: strconv.FormatInt(last, 10)}
	err = insist(ctx, s.log, "commit a checkpoint", func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
		defer cancel()
		return s.generation.Commit(ctx, []broker.Commit{commit})
	})
	if err != nil {
		return err
	}
	s.clean(ctx, m.Start)
	return nil
}

// write appends the records of a cut, and returns the offsets of the first and the last. What a failed try has left behind
// is passed over: a chunk says its place in its cut.
func (s *saver) write(ctx context.Context, records []broker.Record) (first, last int64, err error) {
	first = -1
	for len(records) > 0 {
		n := min(len(records), batchChunks)
		at, err := s.state.Records(ctx, records[:n]...)
		if err != nil {
			return 0, 0, err
		}
		if first < 0 {
			first = at
		}
		last = at + int64(n) - 1
		records = records[n:]
	}
	return first, last, nil
}

// clean deletes what no manifest needs. Where it cannot, the topic grows and nothing else is wrong.
func (s *saver) clean(ctx context.Context, start int64) {
	if start <= s.cleaned || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := s.client.DeleteBefore(ctx, schema.TopicState, s.partition, start); err != nil {
		s.log.Warn("cannot delete old checkpoints", zap.Error(err))
		return
	}
	s.cleaned = start
}

// chunks are the records of a cut, valid until the next call.
func (s *saver) chunks(c cut) []broker.Record {
	now := schema.MillisOf(time.Now())
	var records []broker.Record
	size := len(c.body) + (len(c.body)/chunkBytes+1)*chunkHead
	room := slices.Grow(s.room[:0], size)[:size]
	s.room = room
	for body := c.body; ; {
		n := min(len(body), chunkBytes)
		part := chunk{owner: s.owner, cut: s.number, part: len(records), last: n == len(body), body: body[:n]}
		value := part.append(room[: 0 : n+chunkHead])
		records = append(records, broker.Record{Value: value, Time: now})
		room = room[len(value):]
		if body = body[n:]; len(body) == 0 {
			return records
		}
	}
}

// extend is the manifest with the cut under way.
func (s *saver) extend(c cut) manifest {
	if n := len(s.spans); n > 0 && s.spans[n-1].Owner == s.owner {
		s.spans[n-1].Last = s.number
	} else {
		s.spans = append(s.spans, span{Owner: s.owner, First: s.number, Last: s.number})
	}
	return manifest{Offset: c.offset, Start: s.start, Spans: s.spans}
}

// advance notes that the cut, whose first chunk is at first, is written. The pass that a cut completes is all that
// later manifests need.
func (s *saver) advance(c cut, first int64) {
	if s.passFrom < 0 {
		s.passFrom, s.passCut = first, s.number
	}
	if len(s.spans) == 1 && s.spans[0].First == s.number {
		s.start = first
	}
	if c.passed {
		s.start = s.passFrom
		s.spans = []span{{Owner: s.owner, First: s.passCut, Last: s.number}}
		s.passFrom = -1
	}
	s.number++
}
