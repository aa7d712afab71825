package judged

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

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
}

// Position is a place in a partition: the offset of the next event, and a place in the verdicts topic at or before the
// verdict that judges it (0 is always right, a later one saves reading).
type Position struct {
	Offset  int64
	Verdict int64
}

// Reader joins one partition. One goroutine owns it.
type Reader struct {
	client    *broker.Client
	base      int64
	partition int32

	verdicts *broker.Reader
	pending  []broker.Record // fetched verdicts not yet used
	events   *broker.Reader  // nil until the first verdict
	fetched  []broker.Record // events fetched and not yet judged
	next     int64           // the next event to hand out
	verdict  int64           // where the last used verdict stands
	logTime  schema.Millis
}

// NewReader makes a reader that starts at a position.
func NewReader(c *broker.Client, log schema.LogRecord, partition int32, at Position) *Reader {
	return &Reader{
		client: c, base: log.Base, partition: partition, next: at.Offset, verdict: at.Verdict,
		verdicts: c.NewReader(schema.TopicVerdicts, partition, at.Verdict),
	}
}

// Position is where the reader stands: all rows below it have been handed out.
func (r *Reader) Position() Position { return Position{Offset: r.next, Verdict: r.verdict} }

// errGap says that verdicts are missing: an offset that none of them covers.
var errGap = errors.New("verdicts have a gap")

// Next returns the rows that the next verdict judges, waiting for it up to a second; none when none came. Rows and
// everything in them are the caller's.
func (r *Reader) Next(ctx context.Context) ([]Row, error) {
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
		if verdict.To <= r.next { // a repeat
			continue
		}
		if verdict.From > r.next && r.events != nil {
			return nil, fmt.Errorf("join partition %d: %w: %d to %d", r.partition, errGap, r.next, verdict.From-1)
		}
		return r.join(ctx, verdict)
	}
	return nil, nil
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
	r.verdicts = r.client.NewReader(schema.TopicVerdicts, r.partition, gone.First)
	return ctx.Err()
}

// join reads the events of a verdict and puts both together. At the very start the verdict may reach below or begin
// above the reader's position: below, its events are read only for their times; above, what lies between has expired.
func (r *Reader) join(ctx context.Context, verdict schema.Verdict) ([]Row, error) {
	if r.events == nil {
		r.next = max(r.next, verdict.From)
		r.logTime = verdict.LogTime
		r.events = r.client.NewReader(schema.TopicEvents, r.partition, min(verdict.From, r.next))
	}
	rows := make([]Row, 0, verdict.To-r.next)
	exceptions := verdict.Exceptions
	for {
		for len(r.fetched) > 0 && r.fetched[0].Offset < verdict.To {
			record := &r.fetched[0]
			r.fetched = r.fetched[1:]
			r.logTime = max(r.logTime, record.Time)
			for len(exceptions) > 0 && exceptions[0].Offset < record.Offset {
				exceptions = exceptions[1:]
			}
			if record.Offset < r.next {
				continue
			}
			row := r.row(record)
			if len(exceptions) > 0 && exceptions[0].Offset == record.Offset {
				x := &exceptions[0]
				row.Score, row.DuplicateOf, row.Alerts, row.Hits = x.Score, x.DuplicateOf, x.Alerts, x.Hits
			}
			rows = append(rows, row)
			r.next = record.Offset + 1
		}
		if r.next >= verdict.To {
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
		r.events = r.client.NewReader(schema.TopicEvents, r.partition, gone.First)
		r.next = max(r.next, gone.First)
		return nil, nil
	}
	return records, err
}

// row decodes an event. One that cannot be decoded keeps its place, with its bytes in details, under no tenant, and as a
// duplicate of itself, so that nobody sees or counts it.
func (r *Reader) row(record *broker.Record) Row {
	row := Row{ID: schema.EventID(r.base, record.Offset, r.partition), Offset: record.Offset, LogTime: r.logTime}
	var err error
	row.Event, err = schema.DecodeEvent(record.Key, record.Value, record.Time)
	if err != nil {
		details := append([]byte(`{"value":"`), base64.StdEncoding.AppendEncode(nil, record.Value)...)
		row.Event = schema.Event{KeyID: string(record.Key), Type: "undecodable", Severity: schema.Nominal, Details: append(details, `"}`...), CreatedAt: record.Time}
		row.DuplicateOf = row.ID
	}
	row.Score = row.Severity.BaseScore()
	return row
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
