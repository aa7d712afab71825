package query

import (
	"errors"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/schema"
)

// What every key is until its owner says otherwise.
const (
	keyTypeUnknown  = "unknown"
	keyStatusActive = "active"
)

// selectKeys and the texts below make the statement: the keys' sums, joined with how many alerts each has open and with
// the points that rules gave its events, as far as they have not faded. All parts take the same keys. A page's sums are
// made in the order that the table has and stop at the limit, so that it does not sum up a million others.
//
// The last row is no key: it says that the answer is whole. A server that gives up a statement whose answer it is
// sending to a slow reader (KILL QUERY, a shutdown) ends the answer as if it were at its end.
const (
	selectKeys = `SELECT whole, key_id, events, first, last, open, points
FROM (
    SELECT 0 AS whole, k.key_id AS key_id, k.events AS events, k.first AS first, k.last AS last, a.open AS open, p.points AS points
    FROM (
        SELECT
            key_id, sum(n) AS events,
            toUnixTimestamp64Milli(assumeNotNull(min(first_activity))) AS first,
            toUnixTimestamp64Milli(assumeNotNull(max(last_activity))) AS last
        FROM keys
        WHERE `
	groupKeys = `
        GROUP BY key_id`
	limitKeys = `
        ORDER BY key_id
        LIMIT {rows:UInt64}`
	joinAlerts = `
    ) AS k
    LEFT JOIN (
        SELECT key_id, uniqExact(id) AS open
        FROM alerts
        WHERE `
	joinPoints = `
        GROUP BY key_id
    ) AS a ON a.key_id = k.key_id
    LEFT JOIN (
        SELECT key_id, ` + sumPoints + ` AS points
        FROM key_points
        WHERE `
	endKeys = `
        GROUP BY key_id
    ) AS p ON p.key_id = k.key_id
    UNION ALL
    SELECT 1, '', toUInt64(0), toInt64(0), toInt64(0), toUInt64(0), toFloat64(0)
)
ORDER BY whole, key_id`
)

var keyParams = []string{"q", "limit", "cursor"}

// listKeys is GET /api/keys: by name, which is the key_id until a key is given one, in the order of its bytes. With a
// limit it is a page, without one it is every key, streamed.
func (q *Query) listKeys(c *fiber.Ctx) error {
	p, err := parseParams(c, keyParams...)
	if err != nil {
		return err
	}
	limit, _ := p.integer("limit", 1, maxLimit)
	out := newPage(listKeys, "keys", limit)
	if limit == 0 && p.err() == nil {
		return q.streamKeys(c, out, p)
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	sql, args, err := j.keysStatement(p, limit)
	if err != nil {
		return err
	}
	err = j.eachWith("keys", sql, args, keysSettings(), func(rows driver.Rows) error {
		return addKey(out, j.tenant, rows)
	})
	if err != nil {
		return err
	}
	if !out.whole {
		return j.failure("keys", errCut)
	}
	return out.send(c)
}

// keysStatement is the statement for a page of limit keys, for all of them when it is 0.
func (j *job) keysStatement(p *params, limit int) (sql string, args []any, err error) {
	w := tenantIs(j.tenant)
	if part, ok := p.text("q"); ok {
		w.and("positionCaseInsensitiveUTF8(key_id, {q:String}) > 0")
		w.bind("q", part)
	}
	if at, ok := p.cursor(listKeys); ok {
		w.and("key_id > {at:String}")
		w.bind("at", at.name)
	}
	if err := p.err(); err != nil {
		return "", nil, err
	}
	if err := j.seeActions(0); err != nil {
		return "", nil, err
	}
	j.actions.bind(w)
	bindNow(w, schema.MillisOf(j.q.cfg.Now()))
	keys := w.String() + " AND n > 0"
	page, same := groupKeys, w.String()
	if limit > 0 {
		w.bind("rows", limit+1)
		page += limitKeys
		same += " AND key_id IN (SELECT key_id FROM keys WHERE " + keys + page + ")"
	}
	alerts := same + " AND rule_id != '' AND " + j.actions.inState(schema.AlertOpen)
	points := same + " AND " + unfadedPoints
	return selectKeys + keys + page + joinAlerts + alerts + joinPoints + points + endKeys, w.args, nil
}

// keysSettings let the server sum up keys in the order in which they lie, and send blocks of which this node can hold a
// few for each of many clients.
func keysSettings() clickhouse.Settings {
	return clickhouse.Settings{"optimize_aggregation_in_order": 1, "max_block_size": 8192}
}

// errCut says that the server has ended an answer early.
var errCut = errors.New("the answer ends before its last row")

// addKey reads a row of the statement and adds it to the page.
func addKey(out *page, tenant schema.Tenant, rows driver.Rows) error {
	var whole uint8
	var key string
	var events, open uint64
	var first, last int64
	var points float64
	if err := rows.Scan(&whole, &key, &events, &first, &last, &open, &points); err != nil {
		return err
	}
	if whole == 1 {
		out.whole = true
		return nil
	}
	out.add(place{name: key}, func(b []byte) []byte {
		b = append(b, `{"id":`...)
		b = strconv.AppendInt(b, schema.KeyNumber(tenant, key), 10)
		b = answer.AppendString(append(b, `,"name":`...), key)
		b = append(b, `,"key_type":"`+keyTypeUnknown+`","status":"`+keyStatusActive+`","event_count":`...)
		b = strconv.AppendUint(b, events, 10)
		b = answer.AppendTime(append(b, `,"last_activity":`...), schema.Millis(last))
		b = answer.AppendString(append(b, `,"key_id":`...), key)
		b = strconv.AppendFloat(append(b, `,"risk_score":`...), riskScore(points), 'f', -1, 64)
		b = answer.AppendTime(append(b, `,"first_activity":`...), schema.Millis(first))
		b = append(b, `,"open_alerts":`...)
		b = strconv.AppendUint(b, open, 10)
		return append(b, '}')
	})
	return nil
}
