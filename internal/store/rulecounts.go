package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/schema"
)

// RuleCounts is how often one version of a rule has held and failed, over all partitions.
type RuleCounts struct {
	Hits, Shadow, Errors uint64
	LastError            schema.RuleError // the newest by its event's time; of Errors 0: none
}

// SelectRuleCounts reads the counts of the versions that [RuleCountsArgs] names, of the tenant that the caller binds as tenant. It reads
// those lines alone, whatever else was counted.
const SelectRuleCounts = `SELECT rule_id, sum(hits), sum(shadow_hits), sum(errors),
    argMaxIf(error_event_id, error_at, errors > 0), maxIf(error_at, errors > 0), argMaxIf(error_message, error_at, errors > 0)
FROM rule_counts FINAL
WHERE tenant = {tenant:String}
  AND (rule_id, rule_version) IN (SELECT v.1, toUInt32(v.2) FROM (SELECT arrayJoin(arrayZip({rule_ids:Array(String)}, {versions:Array(UInt64)})) AS v))
GROUP BY rule_id`

// RuleCountsArgs names one version of each of some rules.
func RuleCountsArgs(versions map[string]int64) []any {
	ids, numbers := make([]string, 0, len(versions)), make([]string, 0, len(versions))
	for id, version := range versions {
		ids = append(ids, "'"+id+"'") // a rule's id has letters, digits and hyphens
		numbers = append(numbers, fmt.Sprint(version))
	}
	return []any{
		clickhouse.Named("rule_ids", "["+strings.Join(ids, ",")+"]"), clickhouse.Named("versions", "["+strings.Join(numbers, ",")+"]"),
	}
}

// ScanRuleCounts reads a row of SelectRuleCounts.
func ScanRuleCounts(rows driver.Rows) (ruleID string, c RuleCounts, err error) {
	var event uint64
	var at time.Time
	err = rows.Scan(&ruleID, &c.Hits, &c.Shadow, &c.Errors, &event, &at, &c.LastError.Message)
	c.LastError.EventID, c.LastError.At = int64(event), schema.MillisOf(at)
	return ruleID, c, err
}

// ReadRuleCounts reads the counts of one version of each of a tenant's rules, by id, for who administers them all; a rule that has
// counted nothing is left out.
func ReadRuleCounts(ctx context.Context, db driver.Conn, tenant schema.Tenant, versions map[string]int64) (map[string]RuleCounts, error) {
	rows, err := db.Query(ctx, SelectRuleCounts, append(RuleCountsArgs(versions), clickhouse.Named("tenant", string(tenant)))...)
	if err != nil {
		return nil, fmt.Errorf("read rule counts: %w", err)
	}
	defer rows.Close()
	all := map[string]RuleCounts{}
	for rows.Next() {
		id, c, err := ScanRuleCounts(rows)
		if err != nil {
			return nil, fmt.Errorf("read rule counts: %w", err)
		}
		all[id] = c
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rule counts: %w", err)
	}
	return all, nil
}
