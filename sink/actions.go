package sink

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/pause"
	"keypulse/schema"
)

const insertActions = `INSERT INTO alert_actions (tenant, alert_id, raised_at, action, by, comment, at, kafka_offset)`

// copiesOwner is the partition of events whose owner makes the copies, too.
const copiesOwner = 0

// copied is a control topic whose records are lines of a table.
type copied struct {
	what   string // for people
	topic  schema.Topic
	table  string
	insert func(context.Context, []broker.Record) error
	state  *atomic.Pointer[error] // of nil: copying
}

// copies are all of them.
func (s *Sink) copies() []copied {
	return []copied{
		{"alert actions", schema.TopicAlertActions, "alert_actions", s.insertActions, &s.actions},
		{"the audit", schema.TopicAudit, "audit", s.insertAudit, &s.audit},
		{"what is said of keys", schema.TopicKeys, "described_keys", s.insertKeys, &s.keys},
	}
}

// copy stores a topic's records until ctx is done. It needs no intent: the table says itself how far it is, since records
// are stored in their order, and a line that is stored again replaces itself. So the next owner goes on after the last one
// there, and a paused one that wakes does no harm.
func (s *Sink) copy(ctx context.Context, c copied) error {
	var next int64
	err := s.untilDone(ctx, c, func() (err error) {
		next, err = s.storedBelow(ctx, c.table)
		return err
	})
	if err != nil {
		return err
	}
	for r := s.cfg.Client.NewReader(c.topic, 0, next); ; {
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		err = s.untilDone(ctx, c, func() error { return c.insert(ctx, records) })
		if err != nil {
			return err
		}
	}
}

// untilDone tries again while ClickHouse refuses or does not answer.
func (s *Sink) untilDone(ctx context.Context, c copied, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil {
			c.state.Store(new(error))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = fmt.Errorf("copy %s: %w", c.what, err)
		c.state.Store(&err)
		s.log.Warn("cannot copy a control topic, trying again", zap.String("table", c.table), zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return err
		}
	}
}

// storedBelow is the offset after the last record that a table has.
func (s *Sink) storedBelow(ctx context.Context, table string) (int64, error) {
	var next uint64
	err := s.cfg.DB.QueryRow(ctx, "SELECT if(count() = 0, 0, max(kafka_offset) + 1) FROM "+table).Scan(&next)
	return int64(next), err
}

// insertActions stores records as one block. One that cannot be decoded is passed over, as everyone does.
func (s *Sink) insertActions(ctx context.Context, records []broker.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.cfg.DB.PrepareBatch(ctx, insertActions)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := range records {
		r, err := schema.DecodeAlertAction(records[i].Key, records[i].Value)
		if err != nil {
			s.log.Warn("an alert action is passed over", zap.Int64("offset", records[i].Offset), zap.Error(err))
			continue
		}
		err = batch.Append(string(r.Tenant), r.AlertID, r.RaisedAt.Time(), string(r.Action), r.By, r.Comment, r.At.Time(), uint64(records[i].Offset))
		if err != nil {
			return err
		}
	}
	if batch.Rows() == 0 {
		return nil
	}
	if err := batch.Send(); err != nil {
		return err
	}
	s.metrics.actions.Add(float64(batch.Rows()))
	return nil
}
