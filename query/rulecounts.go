package query

import (
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/internal/store"
	"keypulse/rules"
)

// ruleCounts are the counts of rules by id. A rule that has counted nothing is not there; nil: nobody knows.
type ruleCounts map[string]store.RuleCounts

// countsTimeout bounds the statement: a rule is shown without its counts while the database does not answer.
const countsTimeout = 2 * time.Second

// countsOf reads what the versions in force of some rules have counted, in one statement.
func (q *Query) countsOf(c *fiber.Ctx, versions ...rules.Version) ruleCounts {
	counts := ruleCounts{}
	if len(versions) == 0 {
		return counts
	}
	j := q.begin(c, min(q.cfg.StatementTimeout, countsTimeout))
	defer j.end()
	named := make(map[string]int64, len(versions))
	for _, v := range versions {
		named[v.Rule.ID] = v.Version
	}
	args := append(tenantIs(j.tenant).args, store.RuleCountsArgs(named)...)
	err := j.each("rule_counts", store.SelectRuleCounts, args, func(rows driver.Rows) error {
		id, n, err := store.ScanRuleCounts(rows)
		counts[id] = n
		return err
	})
	if err != nil {
		q.cfg.Log.Warn("rules are shown without their counts", zap.String("request_id", httpapi.RequestID(c)), zap.Error(err))
		return nil
	}
	return counts
}

// appendTo appends the members of a rule.
func (counts ruleCounts) appendTo(b []byte, ruleID string) []byte {
	if counts == nil {
		return append(b, `,"hits":null,"shadow_hits":null,"rule_errors":null,"last_error":null`...)
	}
	n := counts[ruleID]
	b = strconv.AppendUint(append(b, `,"hits":`...), n.Hits, 10)
	b = strconv.AppendUint(append(b, `,"shadow_hits":`...), n.Shadow, 10)
	b = strconv.AppendUint(append(b, `,"rule_errors":`...), n.Errors, 10)
	b = append(b, `,"last_error":`...)
	if n.Errors == 0 {
		return append(b, "null"...)
	}
	b = answer.AppendString(append(b, `{"message":`...), n.LastError.Message)
	b = strconv.AppendInt(append(b, `,"event_id":`...), n.LastError.EventID, 10)
	return append(answer.AppendTime(append(b, `,"at":`...), n.LastError.At), '}')
}
