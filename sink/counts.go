package sink

import (
	"context"
	"errors"
	"fmt"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const insertCounts = `INSERT INTO rule_counts (tenant, rule_id, rule_version, kafka_partition, log_base, hits, shadow_hits, errors,
	error_event_id, error_at, error_message, last_id)`

// countColumns turns the counts of rules that rows carry into the columns of insertCounts, nil when there are none. Of each rule
// and partition the last ones are all that is needed: they are the whole so far.
func (s *Sink) countColumns(blocks []block) []any {
	var (
		tenant, ruleID, message                          []string
		version                                          []uint32
		partition                                        []uint16
		base, hits, shadow, failed, errorEventID, lastID []uint64
		errorAt                                          []int64
	)
	for _, b := range blocks {
		last := map[schema.RuleVersion]bool{}
		for i := len(b.rows) - 1; i >= 0; i-- {
			row := &b.rows[i]
			for _, c := range row.Counts {
				if last[c.Of()] {
					continue
				}
				last[c.Of()] = true
				tenant = append(tenant, string(c.Tenant))
				ruleID = append(ruleID, c.RuleID)
				version = append(version, uint32(c.Version))
				partition = append(partition, uint16(b.partition))
				base = append(base, uint64(s.cfg.Incarnation.Base))
				hits = append(hits, uint64(c.Hits))
				shadow = append(shadow, uint64(c.Shadow))
				failed = append(failed, uint64(c.Errors))
				errorEventID = append(errorEventID, uint64(c.LastError.EventID))
				errorAt = append(errorAt, int64(c.LastError.At))
				message = append(message, c.LastError.Message)
				lastID = append(lastID, uint64(row.ID))
			}
		}
	}
	if len(ruleID) == 0 {
		return nil
	}
	return []any{tenant, ruleID, version, partition, base, hits, shadow, failed, errorEventID, errorAt, message, lastID}
}

// counts compares a partition's rule_counts, whose sum is have, with what the last verdict that is stored says they add up to. While
// a sink is writing, and where the log has lost events or that verdict, nobody can tell.
func (v Verifier) counts(ctx context.Context, p int32, have int64, stored committed, idle bool) (Finding, error) {
	f := Finding{Partition: p, Table: "rule_counts", Rows: have}
	if !idle || stored.offset == 0 {
		return f, nil
	}
	record, err := v.Client.ReadAt(ctx, schema.TopicVerdicts, p, stored.verdict)
	if gone := (*broker.OffsetGoneError)(nil); errors.As(err, &gone) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("verify rule_counts of partition %d: %w", p, err)
	}
	verdict, err := schema.DecodeVerdict(record.Value)
	if err != nil {
		return f, fmt.Errorf("verify rule_counts of partition %d: %w", p, err)
	}
	if verdict.To == stored.offset && (verdict.Counted > 0 || have == 0) {
		f.exactly(verdict.Counted, true)
	}
	return f, nil
}
