package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"keypulse/internal/judged"
	"keypulse/schema"
)

// rollup is a table that a view fills from landing.
type rollup struct {
	name  string
	key   string // its columns, as they are named in source
	where string // the events that it counts
}

// hasPoints is true for an event to which rules gave points: key_points counts those.
const hasPoints = "duplicate_of = 0 AND score > multiIf(severity = 'critical', 30, severity = 'warning', 10, 0)"

// counts is the column that says how many events a line counts.
func (r rollup) counts() string {
	if r.where == hasPoints {
		return "n"
	}
	return "n_all"
}

var rollups = []rollup{
	{"keys", "tenant, key_id, kafka_partition", "1"},
	{"activity_by_minute", "minute, tenant, severity, kafka_partition", "1"},
	{"totals", "severity, kafka_partition", "1"},
	{"key_points", "tenant, key_id, day, kafka_partition", hasPoints},
}

// errUnsettled says that rows are still missing after they were filled in.
var errUnsettled = errors.New("rows are still missing after they were filled in")

// settle makes sure that an intent's rows are in every table, whatever has become of its INSERT: it looks, fills in only
// what is missing, and looks again. Nothing else may be writing these rows: what was under way has been killed, and the
// fence is this sink's.
//
// events is looked at row by row. A rollup is looked at group by group: the rows of a partition come in the order of their
// ids, a group's part of one INSERT is one line, and the line says by last_id how far it has counted. So an event is missing
// in a rollup exactly when its id is above its group's last_id. Alerts, hits and rules' counts are written again: that changes nothing.
func (s *Sink) settle(ctx context.Context, owner uint64, in intent, blocks []block) error {
	if len(in) == 0 {
		return nil
	}
	missing, err := s.missingEvents(ctx, in, blocks)
	if err != nil {
		return err
	}
	filled := count(missing)
	if filled > 0 {
		if err := s.insert(ctx, in.name()+"/fill", insertLanding, landingColumns(missing, owner, "events")); err != nil {
			return fmt.Errorf("fill events: %w", err)
		}
	}
	if err := s.storeBeside(ctx, in, blocks); err != nil {
		return err
	}
	n, err := s.fillRollups(ctx, owner, in)
	if err != nil {
		return err
	}
	filled += int64(n)
	s.metrics.filled.Add(float64(filled))
	s.log.Info("settled what was under way", zap.String("insert", in.name()), zap.Int64("rows", in.rows()), zap.Int64("filled", filled))
	if missing, err = s.missingEvents(ctx, in, blocks); err != nil {
		return err
	}
	if count(missing) > 0 {
		return fmt.Errorf("look at events: %w", errUnsettled)
	}
	return nil
}

// missingEvents are the rows of blocks that events does not have.
func (s *Sink) missingEvents(ctx context.Context, in intent, blocks []block) ([]block, error) {
	rows, err := s.cfg.DB.Query(s.bounded(ctx), "SELECT id FROM events WHERE "+s.within(in))
	if err != nil {
		return nil, fmt.Errorf("look at events: %w", err)
	}
	defer rows.Close()
	have := map[int64]bool{}
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("look at events: %w", err)
		}
		have[int64(id)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look at events: %w", err)
	}
	var missing []block
	for _, b := range blocks {
		m := block{partition: b.partition}
		for _, row := range b.rows {
			if !have[row.ID] {
				m.rows = append(m.rows, row)
			}
		}
		missing = append(missing, m)
	}
	return missing, nil
}

// fillRollups gives each rollup the rows of events that it lacks and says how many those were.
func (s *Sink) fillRollups(ctx context.Context, owner uint64, in intent) (filled uint64, err error) {
	for _, r := range rollups {
		before, err := s.missingIn(ctx, r, in)
		if err != nil {
			return 0, err
		}
		if before == 0 {
			continue
		}
		// One block: a group that came in two might be counted by half.
		statement := fmt.Sprintf(`%s SELECT %s, %d, '%s' %s ORDER BY kafka_partition, id
			SETTINGS parallel_distributed_insert_select = 0, max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0`,
			insertLanding, eventNames, owner, r.name, s.lacking(r, in))
		if err := s.cfg.DB.Exec(s.settings(ctx, in.name()+"/"+r.name), statement); err != nil {
			return 0, fmt.Errorf("fill %s: %w", r.name, err)
		}
		after, err := s.missingIn(ctx, r, in)
		if err != nil {
			return 0, err
		}
		if after > 0 {
			return 0, fmt.Errorf("look at %s: %w", r.name, errUnsettled)
		}
		filled += before
	}
	return filled, nil
}

func (s *Sink) missingIn(ctx context.Context, r rollup, in intent) (n uint64, err error) {
	if err := s.row(ctx, "SELECT count() "+s.lacking(r, in), &n); err != nil {
		return 0, fmt.Errorf("look at %s: %w", r.name, err)
	}
	return n, nil
}

// lacking is the FROM of the events of an intent that a rollup has not counted.
func (s *Sink) lacking(r rollup, in intent) string {
	var partitions []int32
	for _, span := range in {
		partitions = append(partitions, span.Partition)
	}
	return fmt.Sprintf(`FROM (SELECT *, toStartOfMinute(created_at) AS minute, toDate(created_at) AS day FROM events WHERE (%s) AND %s) AS e
		LEFT JOIN (SELECT %s, max(last_id) AS counted FROM %s WHERE has(%s, kafka_partition) GROUP BY %s) AS r USING (%s)
		WHERE id > counted`, s.within(in), r.where, r.key, r.name, list(partitions), r.key, r.key)
}

// within is the condition that an event is in an intent.
func (s *Sink) within(in intent) string {
	var spans []string
	for _, span := range in {
		spans = append(spans, fmt.Sprintf("kafka_partition = %d AND id >= %d AND id < %d", span.Partition, s.id(span.From, span.Partition), s.id(span.To, span.Partition)))
	}
	return "(" + strings.Join(spans, ") OR (") + ")"
}

func (s *Sink) id(offset int64, partition int32) int64 {
	return schema.EventID(s.cfg.Incarnation.Base, offset, partition)
}

// reread reads the rows of an intent from the log again. What the log has dropped meanwhile cannot be filled in.
func (s *Sink) reread(ctx context.Context, in intent) ([]block, error) {
	var blocks []block
	for _, span := range in {
		r := judged.NewReader(s.cfg.Client, s.cfg.Incarnation, span.Partition, judged.Position{Offset: span.From, Verdict: span.Before})
		b := block{partition: span.Partition}
		for r.Position().Offset < span.To {
			rows, err := r.Next(ctx)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				if row.Offset < span.To {
					b.rows = append(b.rows, row)
				}
			}
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func count(blocks []block) (n int64) {
	for _, b := range blocks {
		n += int64(len(b.rows))
	}
	return n
}
