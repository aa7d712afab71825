package query

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// Lag tells how far behind the log the tables are: what has been accepted and cannot be seen yet. It asks the log and the
// database once a second at most, however many want to know.
type Lag struct {
	client *broker.Client
	db     driver.Conn
	log    schema.LogRecord
	now    func() time.Time
	flight singleflight.Group

	mu     sync.Mutex // guards the following
	behind time.Duration
	at     time.Time // when behind was asked for
}

// lagAge is how old an answer may be, and lagTimeout bounds one.
const (
	lagAge     = time.Second
	lagTimeout = 5 * time.Second
)

// NewLag makes a Lag that has asked nothing yet.
func NewLag(c *broker.Client, db driver.Conn, log schema.LogRecord, now func() time.Time) *Lag {
	return &Lag{client: c, db: db, log: log, now: now}
}

// Behind is how long the oldest event has waited that is accepted and not stored, 0 when all are.
func (l *Lag) Behind(ctx context.Context) (time.Duration, error) {
	l.mu.Lock()
	behind, fresh := l.behind, !l.at.IsZero() && l.now().Sub(l.at) < lagAge
	l.mu.Unlock()
	if fresh {
		return behind, nil
	}
	ask := l.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
		defer cancel()
		return l.ask(ctx)
	})
	select {
	case r := <-ask:
		behind, _ = r.Val.(time.Duration)
		return behind, r.Err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// selectStored reads the projection proof, whatever the number of events.
const selectStored = `SELECT kafka_partition, max(id) FROM events GROUP BY kafka_partition`

func (l *Lag) ask(ctx context.Context) (time.Duration, error) {
	next := make([]int64, l.log.Partitions) // the first offset of each partition that is not stored
	rows, err := l.db.Query(ctx, selectStored)
	if err != nil {
		return 0, fmt.Errorf("ask what is stored: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var partition uint16
		var id uint64
		if err := rows.Scan(&partition, &id); err != nil {
			return 0, fmt.Errorf("scan what is stored: %w", err)
		}
		if int(partition) < len(next) {
			next[partition] = int64(id)/1024 - l.log.Base + 1
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read what is stored: %w", err)
	}
	at := l.now()
	waits := make([]time.Duration, len(next))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for partition := range l.log.Partitions {
		g.Go(func() (err error) {
			waits[partition], err = l.waits(ctx, partition, next[partition], at)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.behind = at, 0
	for _, wait := range waits {
		l.behind = max(l.behind, wait)
	}
	return l.behind, nil
}

// waits is how long the event at an offset has waited, 0 where there is none yet.
func (l *Lag) waits(ctx context.Context, partition int32, next int64, at time.Time) (time.Duration, error) {
	first, end, err := l.client.Offsets(ctx, schema.TopicEvents, partition)
	if err != nil || next >= end || first >= end {
		return 0, err
	}
	record, err := l.client.ReadAt(ctx, schema.TopicEvents, partition, max(next, first))
	if err != nil {
		return 0, fmt.Errorf("read what is not stored: %w", err)
	}
	return max(at.Sub(record.Time.Time()), 0), nil
}
