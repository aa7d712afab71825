package sink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/pause"
	"keypulse/schema"
)

// MinRetention is the shortest time for which events can be kept: clocks differ, and by far less than that.
const MinRetention = 24 * time.Hour

// dropped is what retention has dropped of one partition.
type dropped struct {
	last                  int64 // the largest id; -1: nothing
	rows, alerts, pointed int64
	sum                   uint64 // of their ids, modulo 2^64
}

// readDropped asks for what retention has dropped.
func (v Verifier) readDropped(ctx context.Context) (map[int32]dropped, error) {
	rows, err := v.DB.Query(ctx, `SELECT kafka_partition, max(last_id), sum(rows), sum(alerts), sum(pointed), sum(ids) FROM dropped FINAL `+v.ofThisLog("last_id")+` GROUP BY kafka_partition`)
	if err != nil {
		return nil, fmt.Errorf("read what was dropped: %w", err)
	}
	defer rows.Close()
	out := map[int32]dropped{}
	for p := range v.Incarnation.Partitions {
		out[p] = dropped{last: -1}
	}
	for rows.Next() {
		var p uint16
		var last, n, alerts, pointed, sum uint64
		if err := rows.Scan(&p, &last, &n, &alerts, &pointed, &sum); err != nil {
			return nil, fmt.Errorf("read what was dropped: %w", err)
		}
		out[int32(p)] = dropped{last: int64(last), rows: int64(n), alerts: int64(alerts), pointed: int64(pointed), sum: sum}
	}
	return out, rows.Err()
}

// retainNowAndThen drops what is older than the retention until ctx is done.
func (s *Sink) retainNowAndThen(ctx context.Context) error {
	if s.cfg.Retention == 0 {
		return nil
	}
	for pause.For(ctx, s.cfg.RetentionEvery) == nil {
		if err := s.retain(ctx, time.Now().Add(-s.cfg.Retention)); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot drop old events, trying again", zap.Error(err))
		}
	}
	return ctx.Err()
}

// retain drops the months of events that ended before oldest. They are a prefix of every partition of the log, for log_time
// never falls, and nothing is written into them any more (complete). What goes is recorded before it goes; after a crash in
// between, the rows up to the recorded id are dropped by the next pass and not recorded again. Two sinks may do so at once:
// both record the same lines, of which one counts.
func (s *Sink) retain(ctx context.Context, oldest time.Time) error {
	months, end, err := s.monthsBefore(ctx, oldest)
	if err != nil || len(months) == 0 {
		return err
	}
	v := s.verifier()
	if ok, err := s.complete(ctx, v, end); err != nil || !ok {
		return err
	}
	before, err := v.readDropped(ctx)
	if err != nil {
		return err
	}
	lines, err := s.dropLines(ctx, months, before)
	if err != nil {
		return err
	}
	after, err := v.readDropped(ctx)
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) { // another sink drops, too, and lines may be of what it left
		return nil
	}
	if len(lines) > 0 {
		if err := s.exec(ctx, "INSERT INTO dropped (kafka_partition, last_id, rows, ids, alerts, pointed) VALUES "+strings.Join(lines, ", ")); err != nil {
			return fmt.Errorf("record what is dropped: %w", err)
		}
	}
	for _, month := range months {
		// However large it is: the server's own bound is there for people's mistakes.
		if err := s.execEach(ctx, fmt.Sprintf("ALTER TABLE events DROP PARTITION %s SETTINGS max_partition_size_to_drop = 0", month)); err != nil {
			return fmt.Errorf("drop the events of %s: %w", month, err)
		}
	}
	s.log.Info("dropped old events", zap.Strings("months", months))
	return nil
}

// monthsBefore are the months of events, 202601, that ended before oldest, and the end of the last one.
func (s *Sink) monthsBefore(ctx context.Context, oldest time.Time) (months []string, end time.Time, err error) {
	var all []string
	for _, server := range s.cfg.Servers {
		var some []string
		const query = "SELECT groupUniqArray(partition) FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active"
		if err := server.QueryRow(s.bounded(ctx), query).Scan(&some); err != nil {
			return nil, end, fmt.Errorf("read the months of events: %w", err)
		}
		all = append(all, some...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, month := range all {
		start, err := time.Parse("200601", month)
		if err != nil {
			return nil, end, fmt.Errorf("read the months of events: %w", err)
		}
		if next := start.AddDate(0, 1, 0); !next.After(oldest) {
			months, end = append(months, month), next
		}
	}
	return months, end, nil
}

// complete says that no row of before end will be written any more, in no partition: a later one is known to be stored, or all
// that the log has, so that the next one is of now.
func (s *Sink) complete(ctx context.Context, v Verifier, end time.Time) (bool, error) {
	commits, err := v.commits(ctx)
	if err != nil {
		return false, err
	}
	for p := range s.cfg.Incarnation.Partitions {
		_, logEnd, err := s.cfg.Client.Offsets(ctx, schema.TopicEvents, p)
		if err != nil {
			return false, err
		}
		if commits[p].offset >= logEnd {
			continue
		}
		var later uint64
		query := fmt.Sprintf("SELECT count() FROM (SELECT 1 FROM events WHERE kafka_partition = %d AND id < %d AND log_time >= toDateTime64('%s', 3, 'UTC') LIMIT 1)",
			p, s.id(commits[p].offset, p), end.Format(time.DateTime))
		if err := s.row(ctx, query, &later); err != nil {
			return false, fmt.Errorf("look for later events: %w", err)
		}
		if later == 0 {
			return false, nil
		}
	}
	return true, nil
}

// dropLines are the lines of the table dropped, by partition, for the rows of months that are not recorded yet.
func (s *Sink) dropLines(ctx context.Context, months []string, recorded map[int32]dropped) (lines []string, err error) {
	for p := range s.cfg.Incarnation.Partitions {
		var last, n, sum, alerts, pointed uint64
		query := fmt.Sprintf("SELECT max(id), count(), sum(id), sum(alerts), countIf(%s) FROM events WHERE kafka_partition = %d AND toYYYYMM(log_time) IN (%s) AND id > %d",
			hasPoints, p, strings.Join(months, ", "), max(s.verifier().firstID()-1, recorded[p].last))
		if err := s.row(ctx, query, &last, &n, &sum, &alerts, &pointed); err != nil {
			return nil, fmt.Errorf("count what is dropped: %w", err)
		}
		if n > 0 {
			lines = append(lines, fmt.Sprintf("(%d, %d, %d, %d, %d, %d)", p, last, n, sum, alerts, pointed))
		}
	}
	return lines, nil
}
