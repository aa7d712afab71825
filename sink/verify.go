package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/pause"
	"keypulse/schema"
)

// Finding is what the verification says about one table and one partition.
type Finding struct {
	Partition int32  `json:"partition"`
	Table     string `json:"table"`
	Rows      int64  `json:"rows"`    // what the table has, or counts
	Missing   int64  `json:"missing"` // of what is said to be stored
	Doubled   int64  `json:"doubled"`
	NotYet    int64  `json:"not_yet"` // in the log, not yet stored
	Lost      int64  `json:"lost"`    // of events: dropped by the log before they were stored
	Dropped   int64  `json:"dropped"` // of events: by retention
}

// Report is a verification of all partitions and tables.
type Report struct {
	Findings []Finding `json:"findings"`
	Missing  int64     `json:"missing"`
	Doubled  int64     `json:"doubled"`
	NotYet   int64     `json:"not_yet"`
	Lost     int64     `json:"lost"`
	Dropped  int64     `json:"dropped"`
}

func (r *Report) add(f Finding) {
	r.Findings = append(r.Findings, f)
	r.Missing += f.Missing
	r.Doubled += f.Doubled
	r.NotYet += f.NotYet
	r.Lost += f.Lost
	r.Dropped += f.Dropped
}

// Verifier compares the tables with the log.
type Verifier struct {
	Client      *broker.Client
	Incarnation schema.LogRecord
	DB          driver.Conn
}

// proofs is what the tables say, by partition. Every number comes from a projection or a rollup, so that verifying costs
// no scan of events while nothing is wrong.
type proofs struct {
	events                 map[int32]eventsProof
	rollups                map[string]map[int32]int64
	alerts, lost, lastLost map[int32]int64
	counts                 map[int32]int64  // sums of rule_counts
	lostSum                map[int32]uint64 // of their ids
	dropped                map[int32]dropped
}

type eventsProof struct {
	count, alerts, pointed int64
	first                  int64  // id
	last                   int64  // offset
	sum                    uint64 // of all ids, modulo 2^64
}

// Verify looks at every table. What sinks are writing meanwhile is neither missing nor doubled: it is read from the commits
// before and after how far each table must be, and may be.
func (v Verifier) Verify(ctx context.Context) (*Report, error) {
	before, err := v.commits(ctx)
	if err != nil {
		return nil, err
	}
	have, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	after, err := v.commits(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	for p := range v.Incarnation.Partitions {
		_, end, err := v.Client.Offsets(ctx, schema.TopicEvents, p)
		if err != nil {
			return nil, err
		}
		if err := v.partition(ctx, report, p, end, before[p], after[p], have); err != nil {
			return nil, err
		}
	}
	if err := v.actions(ctx, report); err != nil {
		return nil, err
	}
	return report, v.keys(ctx, report)
}

func (v Verifier) commits(ctx context.Context) (map[int32]committed, error) {
	commits, err := v.Client.Committed(ctx, GroupID, schema.TopicEvents, v.Incarnation.Partitions)
	if err != nil {
		return nil, err
	}
	state := map[int32]committed{}
	for _, c := range commits {
		if state[c.Partition], err = parseCommit(c); err != nil {
			return nil, err
		}
	}
	return state, nil
}

// partition compares one partition. Of its offsets those below low are in every table, those from high on in none.
func (v Verifier) partition(ctx context.Context, report *Report, p int32, end int64, before, after committed, have proofs) error {
	e, gone := have.events[p], have.dropped[p]
	if e.count > 0 && e.first <= gone.last { // recorded, and about to go
		var err error
		if e, err = v.eventsAbove(ctx, p, gone.last); err != nil {
			return err
		}
	}
	goneTo, _ := schema.SplitEventID(v.Incarnation.Base, gone.last)
	lost := have.lost[p]
	low, high := before.offset, after.offset
	if open := after.span(p); open != nil {
		high = open.To
	}
	stored := max(0, e.last+1, have.lastLost[p]+1, goneTo+1)
	high = max(high, stored)
	events := Finding{Partition: p, Table: "events", Rows: e.count, Lost: lost, Dropped: gone.rows, NotYet: max(0, end-stored)}
	want := max(low, stored) - lost - gone.rows
	if e.count != want || e.sum != v.idSum(p, max(low, stored))-have.lostSum[p]-gone.sum {
		var rows, distinct uint64
		query := fmt.Sprintf("SELECT count(), uniqExact(id) FROM events WHERE kafka_partition = %d AND id > %d AND id < %d", p, max(v.firstID()-1, gone.last), schema.EventID(v.Incarnation.Base, max(low, stored), p))
		if err := v.DB.QueryRow(ctx, query).Scan(&rows, &distinct); err != nil {
			return fmt.Errorf("count events of partition %d: %w", p, err)
		}
		events.Doubled, events.Missing = int64(rows-distinct), max(0, want-int64(distinct))
	}
	report.add(events)
	for _, r := range rollups {
		n := have.rollups[r.name][p]
		f := Finding{Partition: p, Table: r.name, Rows: n}
		if r.where == hasPoints {
			f.exactly(e.pointed+gone.pointed, low == high)
		} else {
			f.Missing, f.Doubled, f.NotYet = max(0, low-lost-n), max(0, n-(high-lost)), max(0, end-lost-max(n, low-lost))
		}
		report.add(f)
	}
	alerts := Finding{Partition: p, Table: "alerts", Rows: have.alerts[p]}
	alerts.exactly(e.alerts+gone.alerts, low == high)
	report.add(alerts)
	counts, err := v.counts(ctx, p, have.counts[p], after, low == high && lost == 0)
	report.add(counts)
	return err
}

// exactly compares with a number that events itself gives. While a sink is writing, the two may differ.
func (f *Finding) exactly(want int64, idle bool) {
	if idle {
		f.Missing, f.Doubled = max(0, want-f.Rows), max(0, f.Rows-want)
	} else {
		f.NotYet = max(0, want-f.Rows)
	}
}

// read asks all tables.
func (v Verifier) read(ctx context.Context) (proofs, error) {
	out := proofs{events: map[int32]eventsProof{}, rollups: map[string]map[int32]int64{}, lost: map[int32]int64{}, lastLost: map[int32]int64{}, lostSum: map[int32]uint64{}}
	for p := range v.Incarnation.Partitions {
		out.lastLost[p] = -1
		out.events[p] = eventsProof{last: -1}
	}
	rows, err := v.DB.Query(ctx, `SELECT kafka_partition, count(), min(id), max(id), sum(id), sum(alerts), countIf(`+hasPoints+`) FROM events `+v.ofThisLog("id")+` GROUP BY kafka_partition`)
	if err != nil {
		return out, fmt.Errorf("read the proof of events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p uint16
		var n, first, last, sum, alerts, pointed uint64
		if err := rows.Scan(&p, &n, &first, &last, &sum, &alerts, &pointed); err != nil {
			return out, fmt.Errorf("read the proof of events: %w", err)
		}
		e := eventsProof{count: int64(n), alerts: int64(alerts), pointed: int64(pointed), first: int64(first), sum: sum}
		e.last, _ = schema.SplitEventID(v.Incarnation.Base, int64(last))
		out.events[int32(p)] = e
	}
	if err := rows.Err(); err != nil {
		return out, fmt.Errorf("read the proof of events: %w", err)
	}
	for _, r := range rollups {
		if out.rollups[r.name], err = v.counted(ctx, r); err != nil {
			return out, err
		}
	}
	if out.alerts, err = v.numbers(ctx, fmt.Sprintf("SELECT toUInt16(event_id %% 1024) AS p, toInt64(uniqExact(id)) FROM alerts WHERE event_id >= %d GROUP BY p", v.firstID())); err != nil {
		return out, err
	}
	if out.counts, err = v.numbers(ctx, fmt.Sprintf("SELECT kafka_partition, toInt64(sum(hits + shadow_hits + errors)) FROM rule_counts FINAL WHERE log_base = %d GROUP BY kafka_partition", v.Incarnation.Base)); err != nil {
		return out, err
	}
	if err := v.readLost(ctx, &out); err != nil {
		return out, err
	}
	out.dropped, err = v.readDropped(ctx) // after events: what goes meanwhile is recorded before it goes
	return out, err
}

// firstID is the smallest id that an event of this log can have. What is below belongs to earlier logs.
func (v Verifier) firstID() int64 { return schema.EventID(v.Incarnation.Base, 0, 0) }

// ofThisLog is a condition on a column of ids, empty for a first log, so that the projection answers.
func (v Verifier) ofThisLog(column string) string {
	if v.Incarnation.Base <= 1 {
		return ""
	}
	return fmt.Sprintf("WHERE %s >= %d", column, v.firstID())
}

// counted is how many events of this log a rollup has counted, by partition.
func (v Verifier) counted(ctx context.Context, r rollup) (map[int32]int64, error) {
	counted, err := v.numbers(ctx, fmt.Sprintf("SELECT kafka_partition, toInt64(sum(%s)) FROM %s GROUP BY kafka_partition", r.counts(), r.name))
	if err != nil {
		return nil, err
	}
	before, err := v.numbers(ctx, fmt.Sprintf("SELECT kafka_partition, counted FROM earlier_logs FINAL WHERE base = %d AND rollup = '%s'", v.Incarnation.Base, r.name))
	for p, n := range before {
		counted[p] -= n
	}
	return counted, err
}

// eventsAbove is the proof of the rows of a partition above an id.
func (v Verifier) eventsAbove(ctx context.Context, p int32, id int64) (eventsProof, error) {
	var n, first, last, sum, alerts, pointed uint64
	query := fmt.Sprintf("SELECT count(), min(id), max(id), sum(id), sum(alerts), countIf(%s) FROM events WHERE kafka_partition = %d AND id > %d", hasPoints, p, id)
	if err := v.DB.QueryRow(ctx, query).Scan(&n, &first, &last, &sum, &alerts, &pointed); err != nil {
		return eventsProof{}, fmt.Errorf("read the proof of events of partition %d: %w", p, err)
	}
	e := eventsProof{count: int64(n), alerts: int64(alerts), pointed: int64(pointed), first: int64(first), last: -1, sum: sum}
	if n > 0 {
		e.last, _ = schema.SplitEventID(v.Incarnation.Base, int64(last))
	}
	return e, nil
}

// readLost asks for what the log lost.
func (v Verifier) readLost(ctx context.Context, out *proofs) error {
	rows, err := v.DB.Query(ctx, `SELECT kafka_partition, max(last_id), toUInt64(sum(intDiv(last_id - first_id, 1024) + 1)), toUInt64(sum((intDiv(last_id - first_id, 1024) + 1) * intDiv(first_id + last_id, 2)))
		FROM lost FINAL `+v.ofThisLog("last_id")+` GROUP BY kafka_partition`)
	if err != nil {
		return fmt.Errorf("read what is lost: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p uint16
		var last, n, sum uint64
		if err := rows.Scan(&p, &last, &n, &sum); err != nil {
			return fmt.Errorf("read what is lost: %w", err)
		}
		out.lost[int32(p)], out.lostSum[int32(p)] = int64(n), sum
		out.lastLost[int32(p)], _ = schema.SplitEventID(v.Incarnation.Base, int64(last))
	}
	return rows.Err()
}

// idSum is the sum of the ids of the first n events of a partition, modulo 2^64 as ClickHouse adds up, too. One row that is
// doubled beside one that is missing shows here.
func (v Verifier) idSum(p int32, n int64) uint64 {
	offsets := uint64(n)*uint64(v.Incarnation.Base) + uint64(n*(n-1)/2)
	return offsets*schema.MaxPartitions + uint64(n)*uint64(p)
}

// numbers reads a number for each partition.
func (v Verifier) numbers(ctx context.Context, query string) (map[int32]int64, error) {
	rows, err := v.DB.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer rows.Close()
	out := map[int32]int64{}
	for rows.Next() {
		var p uint16
		var n int64
		if err := rows.Scan(&p, &n); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		out[int32(p)] = n
	}
	return out, rows.Err()
}

// actions compares alert_actions with its topic: what cannot be decoded is not stored.
func (v Verifier) actions(ctx context.Context, report *Report) error {
	const stored = "SELECT uniqExact(kafka_offset), if(count() = 0, 0, max(kafka_offset) + 1) FROM alert_actions"
	return v.copied(ctx, report, schema.TopicAlertActions, "alert_actions", stored, func(r broker.Record) bool {
		_, err := schema.DecodeAlertAction(r.Key, r.Value)
		return err == nil
	})
}

// keys compares described_keys with its topic: of each key the last version is there, and so its number of versions.
func (v Verifier) keys(ctx context.Context, report *Report) error {
	const stored = `SELECT sum(version), max(next) FROM (SELECT max(version) AS version, max(kafka_offset) + 1 AS next FROM described_keys GROUP BY tenant, key_id)`
	known := describedKeys{map[string]int64{}, map[schema.Tenant]int64{}}
	return v.copied(ctx, report, schema.TopicKeys, "described_keys", stored, func(r broker.Record) bool {
		said, err := schema.DecodeKeyRecord(r.Key, r.Value)
		return err == nil && known.take(said)
	})
}

// copied compares a table with a control topic, which is read as a whole. stored asks for the number of its records that the table
// has, and for the offset behind the last one; counts says of each record, in order, whether it is to be stored.
func (v Verifier) copied(ctx context.Context, report *Report, topic schema.Topic, table, stored string, counts func(broker.Record) bool) error {
	var total, below int64
	var n, next uint64
	if err := v.DB.QueryRow(ctx, stored).Scan(&n, &next); err != nil {
		return fmt.Errorf("verify %s: %w", table, err)
	}
	err := broker.NewFollower(v.Client, topic, func(r broker.Record) {
		if counts(r) {
			total++
			if r.Offset < int64(next) {
				below++
			}
		}
	}).ReadAll(ctx)
	if err != nil {
		return err
	}
	rows := int64(n)
	report.add(Finding{Table: table, Rows: rows, Missing: max(0, below-rows), Doubled: max(0, rows-below), NotYet: total - below})
	return nil
}

const (
	// verifyEvery is the shortest time between two verifications of a running sink.
	verifyEvery = time.Minute
	// verifyShare bounds their cost: they may take a hundredth of the time.
	verifyShare = 100
)

func (s *Sink) verifier() Verifier {
	return Verifier{Client: s.cfg.Client, Incarnation: s.cfg.Incarnation, DB: s.cfg.DB}
}

// verifyNowAndThen verifies until ctx is done and shows the result as metrics.
func (s *Sink) verifyNowAndThen(ctx context.Context) error {
	v := s.verifier()
	for wait := verifyEvery; pause.For(ctx, wait) == nil; {
		began := time.Now()
		report, err := v.Verify(ctx)
		wait = max(verifyEvery, verifyShare*time.Since(began))
		if err != nil {
			s.log.Warn("cannot verify the tables", zap.Error(err))
			continue
		}
		s.metrics.missing.Set(float64(report.Missing))
		s.metrics.doubled.Set(float64(report.Doubled))
		if report.Missing > 0 || report.Doubled > 0 {
			s.log.Error("the tables are not what the log says: run `keypulse verify`", zap.Int64("missing", report.Missing), zap.Int64("doubled", report.Doubled))
		}
	}
	return ctx.Err()
}
