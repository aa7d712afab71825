package sink

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// ErrOtherLog says that the tables hold events that the log does not have: the log was cut, or is another one.
var ErrOtherLog = errors.New("ClickHouse has events that the log does not have, so that ids would be given a second time: the log was cut or made anew. " +
	"Restore it, or start with an empty database, or stop all of KeyPulse and run `keypulse migrate --new-log`")

// MayBegin says why a first log must not begin: the tables were filled from one that is gone.
func MayBegin(ctx context.Context, db driver.Conn) error {
	id, err := largestID(ctx, db)
	if err == nil && id > 0 {
		err = ErrOtherLog
	}
	return err
}

// largestID is the largest id of an event that the tables know: as a row, as lost, or as dropped.
func largestID(ctx context.Context, db driver.Conn) (int64, error) {
	var stored, lost, dropped uint64
	const query = "SELECT (SELECT max(id) FROM events), (SELECT max(last_id) FROM lost), (SELECT max(last_id) FROM dropped)"
	if err := db.QueryRow(ctx, query).Scan(&stored, &lost, &dropped); err != nil {
		return 0, fmt.Errorf("read the largest id: %w", err)
	}
	return int64(max(stored, lost, dropped)), nil
}

// CheckLog makes sure that the log is the one that the tables were filled from.
func (v Verifier) CheckLog(ctx context.Context) error {
	var g errgroup.Group // without a context of its own: see bounded
	g.SetLimit(4)
	for p := range v.Incarnation.Partitions {
		g.Go(func() error {
			stored, err := v.stored(ctx, p)
			if err != nil {
				return err
			}
			return v.checkPartition(ctx, p, stored)
		})
	}
	return g.Wait()
}

// stored is the offset after the last one of a partition that the tables know: as a row, as lost, or as dropped. Ids of
// earlier logs are below the base.
func (v Verifier) stored(ctx context.Context, partition int32) (int64, error) {
	var last, lost, dropped uint64
	query := fmt.Sprintf(`SELECT (SELECT max(id) FROM events WHERE kafka_partition = %[1]d), (SELECT max(last_id) FROM lost WHERE kafka_partition = %[1]d),
		(SELECT max(last_id) FROM dropped WHERE kafka_partition = %[1]d)`, partition)
	if err := v.DB.QueryRow(ctx, query).Scan(&last, &lost, &dropped); err != nil {
		return 0, fmt.Errorf("read how far events are stored: %w", err)
	}
	offset, _ := schema.SplitEventID(v.Incarnation.Base, int64(max(last, lost, dropped)))
	return max(offset+1, 0), nil
}

// checkPartition makes sure that the log reaches as far as what is stored, and that its last event that is stored is the one
// that the tables have.
func (v Verifier) checkPartition(ctx context.Context, partition int32, stored int64) error {
	first, end, err := v.Client.Offsets(ctx, schema.TopicEvents, partition)
	if err != nil {
		return err
	}
	if stored > end {
		return fmt.Errorf("%w (partition %d ends at offset %d, stored are %d)", ErrOtherLog, partition, end, stored)
	}
	if stored-1 < first {
		return nil
	}
	record, err := v.Client.ReadAt(ctx, schema.TopicEvents, partition, stored-1)
	if err != nil {
		return err
	}
	event, err := schema.DecodeEvent(record.Key, record.Value, record.Time)
	if err != nil {
		return nil //nolint:nilerr // an event that cannot be decoded has no identity to compare
	}
	var same, any uint64
	id := schema.EventID(v.Incarnation.Base, stored-1, partition)
	query := fmt.Sprintf("SELECT countIf(event_id = {event_id:String} AND toUnixTimestamp64Milli(created_at) = %d), count() FROM events WHERE kafka_partition = %d AND id = %d", event.CreatedAt, partition, id)
	if err := v.DB.QueryRow(withParameter(ctx, "event_id", event.EventID), query).Scan(&same, &any); err != nil {
		return fmt.Errorf("compare with the log: %w", err)
	}
	if any > 0 && same == 0 {
		return fmt.Errorf("%w (the event %d of partition %d is another one)", ErrOtherLog, stored-1, partition)
	}
	return nil
}

// PrepareNewLog returns the record of a log to follow the one of before, whose offsets reached so far as others know: its ids
// are above all that the tables have. What the rollups have counted until now is recorded, for the verification.
func PrepareNewLog(ctx context.Context, db driver.Conn, before schema.LogRecord, reached int64) (schema.LogRecord, error) {
	largest, err := largestID(ctx, db)
	if err != nil {
		return before, err
	}
	stored, _ := schema.SplitEventID(before.Base, largest)
	next := schema.LogRecord{Version: before.Version + 1, Partitions: before.Partitions, Base: broker.NextBase(before, max(reached, stored+1))}
	for _, r := range rollups {
		statement := fmt.Sprintf("INSERT INTO earlier_logs (base, kafka_partition, rollup, counted) SELECT %d, kafka_partition, '%s', toInt64(sum(%s)) FROM %s GROUP BY kafka_partition",
			next.Base, r.name, r.counts(), r.name)
		if err := db.Exec(ctx, statement); err != nil {
			return next, fmt.Errorf("record what %s has counted: %w", r.name, err)
		}
	}
	return next, nil
}
