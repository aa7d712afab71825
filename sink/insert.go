package sink

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/judged"
	"keypulse/schema"
)

// The columns of the INSERTs, in the order in which the blocks below fill them.
const (
	eventNames = `tenant, key_id, id, event_id, event_type, severity, source_ip, actor, details,
		created_at, score, alerts, duplicate_of, kafka_partition, kafka_offset, log_time`
	insertLanding = `INSERT INTO landing (` + eventNames + `, owner, only)`
	insertAlerts  = `INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, rule_version, rule_name, severity, message,
		event_id, values, hits, last_event_id, last_at)`
)

// receiveSeconds is how long the server waits for the next part of an INSERT.
const receiveSeconds = 5

// settings gives an INSERT its name. Nothing is left to ClickHouse's deduplication: it records a block before it has stored it,
// and then drops the repeat of one that it lost.
func (s *Sink) settings(ctx context.Context, name string) context.Context {
	return clickhouse.Context(s.bounded(ctx), clickhouse.WithQueryID(name), clickhouse.WithSettings(clickhouse.Settings{
		// A sink that is paused in the middle of sending must not keep its successor waiting: KILL QUERY does not end a
		// statement that waits for its client.
		"receive_timeout": receiveSeconds, "send_profile_events": 0,
		"async_insert": 0, "insert_deduplicate": 0, "deduplicate_blocks_in_dependent_materialized_views": 0, "insert_deduplication_token": "",
	}))
}

// withParameter binds a value for the server.
func withParameter(ctx context.Context, name, value string) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{name: value}))
}

// block is the rows of one INSERT, by partition.
type block struct {
	partition int32
	rows      []judged.Row
}

// store writes the rows of an intent: events and, where there are any, alerts, hits and rules' counts beside them.
func (s *Sink) store(ctx context.Context, owner uint64, in intent, blocks []block) error {
	var g errgroup.Group // without a context of its own: see bounded
	g.Go(func() error {
		if err := s.insert(ctx, in.name()+"/events", insertLanding, landingColumns(blocks, owner, "")); err != nil {
			return fmt.Errorf("insert events: %w", err)
		}
		return nil
	})
	g.Go(func() error { return s.storeBeside(ctx, in, blocks) })
	return g.Wait()
}

// storeBeside writes what may be written again without harm: alerts with their hits, and rules' counts.
func (s *Sink) storeBeside(ctx context.Context, in intent, blocks []block) error {
	if columns := alertColumns(blocks); columns != nil {
		if err := s.insert(ctx, in.name()+"/alerts", insertAlerts, columns); err != nil {
			return fmt.Errorf("insert alerts: %w", err)
		}
	}
	if columns := s.countColumns(blocks); columns != nil {
		if err := s.insert(ctx, in.name()+"/rule_counts", insertCounts, columns); err != nil {
			return fmt.Errorf("insert rule_counts: %w", err)
		}
	}
	return nil
}

// bounded is a context with a deadline that is done only when its parent is. clickhouse-go looks at Done a moment longer than
// a statement lasts, and closes the connection then, which may be another's by that time: so no context of ours ends with
// its statement.
type bounded struct {
	context.Context
	deadline time.Time
}

// Deadline is when the statement must have ended.
func (b bounded) Deadline() (time.Time, bool) { return b.deadline, true }

func (s *Sink) bounded(ctx context.Context) context.Context {
	return bounded{ctx, time.Now().Add(s.cfg.InsertTimeout)}
}

// insert sends columns as one block.
func (s *Sink) insert(ctx context.Context, name, statement string, columns []any) error {
	batch, err := s.cfg.DB.PrepareBatch(s.settings(ctx, name), statement)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i, column := range columns {
		if err := batch.Column(i).Append(column); err != nil {
			return err
		}
	}
	return batch.Send()
}

// landingColumns turns rows into the columns of insertLanding.
func landingColumns(blocks []block, owner uint64, only string) []any {
	n := count(blocks)
	var (
		tenant      = make([]string, 0, n)
		keyID       = make([]string, 0, n)
		id          = make([]uint64, 0, n)
		eventID     = make([]string, 0, n)
		eventType   = make([]string, 0, n)
		severity    = make([]int8, 0, n)
		sourceIP    = make([]string, 0, n)
		actor       = make([]string, 0, n)
		details     = make([]string, 0, n)
		createdAt   = make([]int64, 0, n)
		score       = make([]uint8, 0, n)
		alerts      = make([]uint16, 0, n)
		duplicateOf = make([]uint64, 0, n)
		partition   = make([]uint16, 0, n)
		offset      = make([]uint64, 0, n)
		logTime     = make([]int64, 0, n)
		owners      = make([]uint64, 0, n)
		onlys       = make([]string, 0, n)
	)
	for _, b := range blocks {
		for i := range b.rows {
			r := &b.rows[i]
			tenant = append(tenant, string(r.Tenant))
			keyID = append(keyID, r.KeyID)
			id = append(id, uint64(r.ID))
			eventID = append(eventID, r.EventID)
			eventType = append(eventType, r.Type)
			severity = append(severity, int8(r.Severity))
			sourceIP = append(sourceIP, r.SourceIP)
			actor = append(actor, r.Actor)
			details = append(details, detailsText(r.Details))
			createdAt = append(createdAt, int64(r.CreatedAt))
			score = append(score, uint8(r.Score))
			alerts = append(alerts, uint16(len(r.Alerts)))
			duplicateOf = append(duplicateOf, uint64(r.DuplicateOf))
			partition = append(partition, uint16(b.partition))
			offset = append(offset, uint64(r.Offset))
			logTime = append(logTime, int64(r.LogTime))
			owners = append(owners, owner)
			onlys = append(onlys, only)
		}
	}
	return []any{
		tenant, keyID, id, eventID, eventType, severity, sourceIP, actor, details, createdAt, score, alerts,
		duplicateOf, partition, offset, logTime, owners, onlys,
	}
}

// detailsText is details as a string of the same bytes: nobody changes a row's.
func detailsText(details []byte) string {
	if len(details) == 0 {
		return schema.EmptyDetails
	}
	return unsafe.String(unsafe.SliceData(details), len(details))
}

// alertColumns turns the alerts and hits of rows into the columns of insertAlerts, nil when there are none. A hit is a
// row that says only what it changes: the table keeps the largest of each column.
func alertColumns(blocks []block) []any {
	var (
		tenant, id, keyID, ruleID, ruleName, message, values []string
		raisedAt, lastAt                                     []int64
		version                                              []uint32
		severity                                             []uint8
		eventID, hits, lastEventID                           []uint64
	)
	add := func(r *judged.Row, a schema.Alert, h schema.Hit) {
		tenant = append(tenant, string(r.Tenant))
		raisedAt = append(raisedAt, int64(h.RaisedAt))
		id = append(id, h.AlertID)
		keyID = append(keyID, r.KeyID)
		ruleID = append(ruleID, a.RuleID)
		version = append(version, uint32(a.RuleVersion))
		ruleName = append(ruleName, a.RuleName)
		severity = append(severity, uint8(a.Severity))
		message = append(message, a.Message)
		eventID = append(eventID, uint64(a.EventID))
		values = append(values, string(a.Values))
		hits = append(hits, uint64(h.Hits))
		lastEventID = append(lastEventID, uint64(r.ID))
		lastAt = append(lastAt, int64(h.At))
	}
	for _, b := range blocks {
		for i := range b.rows {
			r := &b.rows[i]
			for _, a := range r.Alerts {
				add(r, a, schema.Hit{AlertID: a.ID, RaisedAt: a.RaisedAt, Hits: 1, At: a.RaisedAt})
			}
			for _, h := range r.Hits {
				add(r, schema.Alert{}, h)
			}
		}
	}
	if len(id) == 0 {
		return nil
	}
	return []any{
		tenant, raisedAt, id, keyID, ruleID, version, ruleName, severity, message, eventID, values, hits,
		lastEventID, lastAt,
	}
}
