package bench

import (
	"fmt"
	"reflect"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// question is one that people ask the API, with the statement that an expert would write for the same answer.
type question struct {
	name string
	ask  func(r *reader) (path, sql string)
	raw  string // the statement that makes the same answer without rollups; "" where there is none
}

const (
	readColumns = `SELECT id, key_id, event_type, toUInt8(severity), source_ip, actor, details, toUnixTimestamp64Milli(created_at), event_id, score, alerts
FROM events WHERE tenant = '%s' AND duplicate_of = 0`
	readNewest = " ORDER BY created_at DESC, id DESC LIMIT 51"
)

// questions are all of them.
func (r *reader) questions() []question {
	events := func(name string, filter func() (parameters, condition string)) question {
		return question{name: name, ask: func(r *reader) (string, string) {
			parameters, condition := filter()
			return "/api/events?limit=50" + parameters, fmt.Sprintf(readColumns, r.cfg.Tenant) + condition + readNewest
		}}
	}
	always := func(parameters, condition string) func() (string, string) {
		return func() (string, string) { return parameters, condition }
	}
	since := r.since.Time().Format("2006-01-02T15:04:05.000")
	sinceSQL := fmt.Sprintf(" AND created_at >= '%s'", r.since.Time().Format("2006-01-02 15:04:05.000"))
	return []question{
		events("newest 50", always("", "")),
		events("by key", func() (string, string) {
			key := r.key()
			return "&key_id=" + key, " AND key_id = '" + key + "'"
		}),
		events("by type", always("&event_type=export", " AND event_type = 'export'")),
		events("by a type that is 1 in 10,000", always("&event_type="+rareType, " AND event_type = '"+rareType+"'")),
		events("by a severity that is 1 in 10,000", always("&severity=critical", " AND severity = 'critical'")),
		events("by key, type and since", func() (string, string) {
			key := r.key()
			return "&key_id=" + key + "&event_type=signing_request&since=" + since + "Z", " AND key_id = '" + key + "' AND event_type = 'signing_request'" + sinceSQL
		}),
		events("page 1,000", always("&cursor="+r.deep, fmt.Sprintf(" AND created_at <= '%s' AND (created_at, id) < ('%s', %d)", r.deepAt.at, r.deepAt.at, r.deepAt.id))),
		{name: "keys, first page", ask: func(r *reader) (string, string) {
			return "/api/keys?limit=50", fmt.Sprintf(readKeys, r.cfg.Tenant)
		}, raw: fmt.Sprintf(rawKeys, r.cfg.Tenant)},
		{name: "stats", ask: func(*reader) (string, string) { return "/api/stats", readStats }, raw: rawStats},
	}
}

// key names one of the keys, each as often as any other.
func (r *reader) key() string { return fmt.Sprintf("bench-key-%d", 1+r.random.below(r.cfg.Keys)) }

// The answers of rollups: the first 51 keys with their counts, times, open alerts and points, and the statistics.
const (
	readKeys = `WITH page AS (SELECT key_id, sum(n) AS events, min(first_activity) AS first, max(last_activity) AS last FROM keys
	WHERE tenant = '%[1]s' AND n > 0 GROUP BY key_id ORDER BY key_id LIMIT 51 SETTINGS optimize_aggregation_in_order = 1)
SELECT page.*, a.open, p.points FROM page
LEFT JOIN (SELECT key_id, uniqExact(id) AS open FROM alerts WHERE tenant = '%[1]s' AND rule_id != '' AND key_id IN (SELECT key_id FROM page)
	AND id NOT IN (SELECT alert_id FROM alert_actions WHERE tenant = '%[1]s' GROUP BY alert_id HAVING argMax(action, kafka_offset) != 'reopen') GROUP BY key_id) AS a USING (key_id)
LEFT JOIN (SELECT key_id, sum(weighted * exp2(toUInt16(day) - toUnixTimestamp64Milli(now64(3)) / 86400000)) AS points FROM key_points
	WHERE tenant = '%[1]s' AND day >= today() - 40 AND key_id IN (SELECT key_id FROM page) GROUP BY key_id) AS p USING (key_id)
ORDER BY key_id`
	rawKeys = `SELECT key_id, count() AS events, min(created_at) AS first, max(created_at) AS last FROM events
WHERE tenant = '%[1]s' AND duplicate_of = 0 GROUP BY key_id ORDER BY key_id LIMIT 51`
	readStats = `SELECT sumIf(n, severity = 'nominal'), sumIf(n, severity = 'warning'), sumIf(n, severity = 'critical'),
	(SELECT count() FROM (SELECT 1 FROM keys WHERE n > 0 GROUP BY tenant, key_id)),
	(SELECT sum(n) FROM activity_by_minute WHERE minute > now() - INTERVAL 1 DAY) FROM totals`
	rawStats = `SELECT countIf(severity = 'nominal'), countIf(severity = 'warning'), countIf(severity = 'critical'), uniqExact(tenant, key_id),
	countIf(created_at > now() - INTERVAL 1 DAY) FROM events WHERE duplicate_of = 0`
)

// newValue is a place for a value of a column.
func newValue(t driver.ColumnType) any { return reflect.New(t.ScanType()).Interface() }
