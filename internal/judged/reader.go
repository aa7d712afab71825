package judged

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"unsafe"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// Row is an event with its verdict.
type Row struct {
	schema.Event
	ID          int64
	Offset      int64
	Score       int
	DuplicateOf int64         // the id of the first event with the same event_id; 0 for the first itself
	LogTime     schema.Millis // the largest created_at of the partition so far
	Alerts      []schema.Alert
	Hits        []schema.Hit
	Counts      []schema.RuleCounts // of the last row of a verdict: what rules have counted up to this event
}

// Position is a place in a partition: the offset of the next event, and a place in the verdicts topic at or before the
// verdict that judges it (0 is always right, a later one saves reading).
type Position struct {
	Offset  int64
	Verdict int64
}

// Size is about how many bytes the row takes in memory.
func (r *Row) Size() int {
	n := rowSize + len(r.Tenant) + len(r.KeyID) + len(r.Type) + len(r.SourceIP) + len(r.Actor) + len(r.Details) + len(r.EventID)
	for i := range r.Alerts {
		a := &r.Alerts[i]
		n += alertSize + len(a.ID) + len(a.RuleID) + len(a.RuleName) + len(a.Message) + len(a.Values)
	}
	for i := range r.Counts {
		n += countsSize + len(r.Counts[i].Tenant) + len(r.Counts[i].RuleID) + len(r.Counts[i].LastError.Message)
	}
	return n + hitSize*len(r.Hits)
}

// What rows, alerts and hits take without their texts.
const (
	rowSize    = int(unsafe.Sizeof(Row{}))
	alertSize  = int(unsafe.Sizeof(schema.Alert{}))
	hitSize    = int(unsafe.Sizeof(schema.Hit{}))
	countsSize = int(unsafe.Sizeof(schema.RuleCounts{}))
)

// ChunkBytes is how much of a verdict [Reader.Next] hands out at a time, unless [Reader.Limit] says less.
const ChunkBytes = 1 << 20

// Reader joins one partition. One goroutine owns it.
type Reader struct {
	client    *broker.Client
	base      int64
	partition int32
	limit     int // bytes of a chunk and of a fetch; 0: ChunkBytes, and the broker package's own

	verdicts *broker.Reader
	pending  []broker.Record // fetched verdicts not yet used
	open     schema.Verdict  // the one whose rows are being handed out: all of them when its To is at most next
	events   *broker.Reader  // nil until the first verdict
	fetched  []broker.Record // events fetched and not yet judged
	next     int64           // the next event to hand out
	verdict  int64           // where the last used verdict stands
	logTime  schema.Millis
	counts   counts // of verdicts whose last row was not handed out
	room     []byte // what is left of the memory that rows' texts get
}

// NewReader makes a reader that starts at a position.
func NewReader(c *broker.Client, log schema.LogRecord, partition int32, at Position) *Reader {
	return &Reader{
		client: c, base: log.Base, partition: partition, next: at.Offset, verdict: at.Verdict,
		verdicts: c.NewReader(schema.TopicVerdicts, partition, at.Verdict),
	}
}

// Limit makes the reader hand out, and fetch, about so many bytes at a time: what it holds is at most some times as much.
func (r *Reader) Limit(bytes int) {
	r.limit = bytes
	r.verdicts.Limit(bytes)
	if r.events != nil {
		r.events.Limit(bytes)
	}
}

// newReader makes a reader of the partition that keeps to the limit.
func (r *Reader) newReader(topic schema.Topic, offset int64) *broker.Reader {
	reader := r.client.NewReader(topic, r.partition, offset)
	if r.limit > 0 {
		reader.Limit(r.limit)
	}
	return reader
}

// Position is where the reader stands: all rows below it have been handed out.
func (r *Reader) Position() Position { return Position{Offset: r.next, Verdict: r.verdict} }

// errGap says that verdicts are missing: an offset that none of them covers.
var errGap = errors.New("verdicts have a gap")

// Next returns the rows that the next verdict judges, or the next of them when they are many, waiting for it up to a second;
// none when none came. Rows and everything in them are the caller's.
func (r *Reader) Next(ctx context.Context) ([]Row, error) {
	if r.events != nil && r.open.To > r.next {
		return r.join(ctx)
	}
	if len(r.pending) == 0 {
		records, err := r.verdicts.Fetch(ctx)
		if err = r.skipExpired(ctx, err); err != nil {
			return nil, err
		}
		r.pending = records
	}
	for len(r.pending) > 0 {
		record := r.pending[0]
		r.pending = r.pending[1:]
		verdict, err := schema.DecodeVerdict(record.Value)
		if err != nil {
			return nil, fmt.Errorf("read verdict %d of partition %d: %w", record.Offset, r.partition, err)
		}
		r.verdict = record.Offset
		if verdict.To <= r.next { // a repeat, or below where the reader started
			if r.events == nil {
				r.counts.add(verdict.Counts)
			}
			continue
		}
		if verdict.From > r.next && r.events != nil {
			return nil, fmt.Errorf("join partition %d: %w: %d to %d", r.partition, errGap, r.next, verdict.From-1)
		}
		r.begin(verdict)
		return r.join(ctx)
	}
	return nil, nil
}

// begin makes a verdict the open one. At the very start it may reach below or begin above the reader's position: below, its
// events are read only for their times; above, what lies between has expired.
func (r *Reader) begin(verdict schema.Verdict) {
	r.counts.add(r.open.Counts) // its last event has expired
	r.open = verdict
	if r.events == nil {
		r.next = max(r.next, verdict.From)
		r.logTime = verdict.LogTime
		r.events = r.newReader(schema.TopicEvents, min(verdict.From, r.next))
	}
}

// skipExpired moves the reader to the first verdict that is still there when retention has dropped the one it wanted.
func (r *Reader) skipExpired(ctx context.Context, err error) error {
	var gone *broker.OffsetGoneError
	if !errors.As(err, &gone) {
		return err
	}
	if gone.Offset > gone.End {
		return fmt.Errorf("join partition %d: the log was cut or made anew: %w", r.partition, err)
	}
	r.verdicts = r.newReader(schema.TopicVerdicts, gone.First)
	return ctx.Err()
}

// join reads the next events of the open verdict and puts both together.
func (r *Reader) join(ctx context.Context) ([]Row, error) {
	limit := ChunkBytes
	if r.limit > 0 {
		limit = r.limit
	}
	var rows []Row
	for size := 0; ; {
		for len(r.fetched) > 0 && r.fetched[0].Offset < r.open.To {
			record := &r.fetched[0]
			if record.Offset >= r.next && rows == nil {
				rows = make([]Row, 0, min(r.open.To-r.next, int64(len(r.fetched))))
			}
			r.fetched = r.fetched[1:]
			r.logTime = max(r.logTime, record.Time)
			if record.Offset < r.next {
				continue
			}
			rows = append(rows, Row{})
			row := &rows[len(rows)-1]
			r.fill(row, record)
			r.next = record.Offset + 1
			if size += row.Size(); size >= limit {
				return rows, nil
			}
		}
		if r.next >= r.open.To {
			return rows, nil
		}
		records, err := r.fetchEvents(ctx)
		if err != nil {
			return nil, err
		}
		r.fetched = records
	}
}

// fetchEvents reads on; events that retention dropped before they were read are passed over.
func (r *Reader) fetchEvents(ctx context.Context) ([]broker.Record, error) {
	records, err := r.events.Fetch(ctx)
	var gone *broker.OffsetGoneError
	if errors.As(err, &gone) && gone.Offset < gone.First {
		r.events = r.newReader(schema.TopicEvents, gone.First)
		r.next = max(r.next, gone.First)
		return nil, nil
	}
	return records, err
}

// fill makes a row of an event and what its verdict says of it. An event that cannot be decoded keeps its place, with its bytes
// in details, under no tenant, and as a duplicate of itself, so that nobody sees or counts it.
func (r *Reader) fill(row *Row, record *broker.Record) {
	row.ID, row.Offset, row.LogTime = schema.EventID(r.base, record.Offset, r.partition), record.Offset, r.logTime
	key, value := r.keep(record.Key), r.keep(record.Value)
	if err := row.Event.Decode(key, value, record.Time); err != nil {
		details := append([]byte(`{"value":"`), base64.StdEncoding.AppendEncode(nil, value)...)
		row.Event = schema.Event{KeyID: string(key), Type: "undecodable", Severity: schema.Nominal, Details: append(details, `"}`...), CreatedAt: record.Time}
		row.DuplicateOf = row.ID
	}
	row.Score = row.Severity.BaseScore()
	exceptions := r.open.Exceptions
	for len(exceptions) > 0 && exceptions[0].Offset < record.Offset {
		exceptions = exceptions[1:]
	}
	r.open.Exceptions = exceptions
	if len(exceptions) > 0 && exceptions[0].Offset == record.Offset {
		x := &exceptions[0]
		row.Score, row.DuplicateOf, row.Alerts, row.Hits = x.Score, x.DuplicateOf, x.Alerts, x.Hits
	}
	if record.Offset == r.open.To-1 {
		row.Counts = r.counts.take(r.open.Counts)
		r.open.Counts = nil
	}
}

// roomBytes is how much memory the texts of neighbouring rows share. A row that somebody keeps keeps all of it.
const roomBytes = 16 << 10

// keep copies bytes that are valid only until the next fetch.
func (r *Reader) keep(b []byte) []byte {
	if len(b) > len(r.room) {
		if len(b) > roomBytes/4 {
			return bytes.Clone(b)
		}
		r.room = make([]byte, roomBytes)
	}
	kept := r.room[:len(b):len(b)]
	r.room = r.room[len(b):]
	copy(kept, b)
	return kept
}

// repeats is how many of the newest verdicts are looked through for the end: a processor that was paused may have written
// some again after the newest.
const repeats = 256

// End is the position after all that is judged in a partition.
func End(ctx context.Context, c *broker.Client, partition int32) (Position, error) {
	first, end, err := c.Offsets(ctx, schema.TopicVerdicts, partition)
	if err != nil {
		return Position{}, err
	}
	at := Position{Verdict: max(first, end-1)}
	for r := c.NewReader(schema.TopicVerdicts, partition, max(first, end-repeats)); r.Next() < end; {
		records, err := r.Fetch(ctx)
		if err != nil {
			return Position{}, err
		}
		for _, record := range records {
			verdict, err := schema.DecodeVerdict(record.Value)
			if err != nil {
				return Position{}, fmt.Errorf("read verdict %d of partition %d: %w", record.Offset, partition, err)
			}
			at.Offset = max(at.Offset, verdict.To)
		}
	}
	return at, nil
}
