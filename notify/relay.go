package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"keypulse/internal/answer"
	"keypulse/internal/broker"
	"keypulse/internal/judged"
	"keypulse/schema"
)

// commitEvery is how often a relay notes how far it is. What it relays again after a crash the reader passes over.
const commitEvery = time.Second

// relay writes a notice for each alert of a partition of the events, in order, until ctx is done.
func (n *Notifier) relay(ctx context.Context, generation *broker.Generation, from broker.Commit) error {
	at, err := relayPosition(from)
	if err != nil {
		return err
	}
	r := judged.NewReader(n.cfg.Client, n.cfg.Incarnation, from.Partition, at)
	out := newNotices(n.cfg.Client)
	committed, last := at, time.Now()
	for {
		rows, err := r.Next(ctx)
		if err != nil {
			return err
		}
		for i := range rows {
			out.add(&rows[i])
		}
		relayed, err := out.write(ctx)
		if err != nil {
			return err
		}
		n.metrics.relayed.Add(float64(relayed))
		if now := r.Position(); now != committed && time.Since(last) >= commitEvery {
			commit := broker.Commit{Partition: from.Partition, Offset: now.Offset, Metadata: strconv.FormatInt(now.Verdict, 10)}
			if err := generation.Commit(ctx, []broker.Commit{commit}); err != nil {
				return err
			}
			committed, last = now, time.Now()
		}
	}
}

// relayPosition reads what a relay has noted: the offset of the next event, and where its verdict is read from.
func relayPosition(c broker.Commit) (judged.Position, error) {
	if c.Offset < 0 {
		return judged.Position{}, nil
	}
	verdict, err := strconv.ParseInt(c.Metadata, 10, 64)
	if err != nil {
		return judged.Position{}, fmt.Errorf("read the relay's position in partition %d: %w", c.Partition, err)
	}
	return judged.Position{Offset: c.Offset, Verdict: verdict}, nil
}

// notices gathers notices by partition.
type notices struct {
	appends [schema.NoticePartitions]*broker.Append
	waiting [schema.NoticePartitions][]broker.Record
}

func newNotices(c *broker.Client) *notices {
	var n notices
	for i := range n.appends {
		n.appends[i] = broker.NewAppend(c, schema.TopicNotices, int32(i), broker.DefaultProducerConfig())
	}
	return &n
}

// add takes the alerts of a row.
func (n *notices) add(row *judged.Row) {
	if row.DuplicateOf != 0 {
		return
	}
	for i := range row.Alerts {
		value := mustMarshal(noticeOf(row, i))
		partition := NoticePartition(row.Tenant)
		n.waiting[partition] = append(n.waiting[partition], broker.Record{Key: []byte(row.Tenant), Value: value, Time: schema.MillisOf(time.Now())})
	}
}

// NoticePartition is where a tenant's notices are.
func NoticePartition(t schema.Tenant) int32 {
	return schema.Partition([]byte(t), schema.NoticePartitions)
}

// AppendNotice writes a notice that somebody has asked for, and returns its offset.
func AppendNotice(ctx context.Context, c *broker.Client, n schema.NoticeRecord) (int64, error) {
	a := broker.NewAppend(c, schema.TopicNotices, NoticePartition(n.Tenant), broker.DefaultProducerConfig())
	return a.Records(ctx, broker.Record{Key: []byte(n.Tenant), Value: mustMarshal(n), Time: schema.MillisOf(time.Now())})
}

// noticeOf is the notice of a row's alert.
func noticeOf(row *judged.Row, i int) schema.NoticeRecord {
	a := answer.Alert{Alert: row.Alerts[i], KeyID: row.KeyID, Hits: 1, LastEventID: row.ID, LastAt: row.Alerts[i].RaisedAt}
	return schema.NoticeRecord{
		Kind: schema.NoticeAlert, Tenant: row.Tenant, EventID: row.ID, Index: i + 1,
		Alert: append(a.AppendMembers([]byte{'{'}), '}'),
		Event: eventMembers(row),
	}
}

// eventMembers are members of the event that raised an alert: all but details, which may be large and hold what should not
// leave; GET /api/events/{id} shows them.
func eventMembers(row *judged.Row) json.RawMessage {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return mustMarshal(struct {
		ID        int64         `json:"id"`
		Type      string        `json:"event_type"`
		Severity  string        `json:"severity"`
		SourceIP  *string       `json:"source_ip"`
		Actor     *string       `json:"actor"`
		CreatedAt schema.Millis `json:"created_at"`
		Score     int           `json:"score"`
	}{row.ID, row.Type, row.Severity.String(), text(row.SourceIP), text(row.Actor), row.CreatedAt, row.Score})
}

// batchBytes is the most that one batch of notices or of the outbox has, unless one record alone has more.
const batchBytes = 512 << 10

// write writes what was added, and says how much that was.
func (n *notices) write(ctx context.Context) (written int, err error) {
	for partition := range n.waiting {
		err := eachBatch(n.waiting[partition], func(batch []broker.Record) error {
			written += len(batch)
			_, err := n.appends[partition].Records(ctx, batch...)
			return err
		})
		if err != nil {
			return written, err
		}
		n.waiting[partition] = n.waiting[partition][:0]
	}
	return written, nil
}

// eachBatch calls f for all records, in order, as batches.
func eachBatch(records []broker.Record, f func([]broker.Record) error) error {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+len(records[n].Value) <= batchBytes) {
			size += len(records[n].Value)
			n++
		}
		if err := f(records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}
