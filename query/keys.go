package query

import (
	"errors"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/schema"
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

var keyParams = []string{"status", "q", "limit", "cursor", "activity"}

// listKeys is GET /api/keys: by name, which is the key_id until a key is given one, in the order of its bytes. With a
// limit it is a page, without one it is every key, streamed.
func (q *Query) listKeys(c *fiber.Ctx) error {
	p, err := parseParams(c, keyParams...)
	if err != nil {
		return err
	}
	limit, _ := p.integer("limit", 1, maxLimit)
	f := keyFilterOf(p)
	_, active := p.oneOf("activity", []string{"true"})
	if active && limit == 0 {
		p.refuse("activity", "goes with limit")
	}
	if err := p.err(); err != nil {
		return err
	}
	out := newPage(listKeys, "keys", limit)
	if limit == 0 {
		return q.streamKeys(c, out, f)
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	if err := j.seeActions(0); err != nil {
		return err
	}
	walk := j.walkKeys(f, limit+1, j.pagesOfKeys(f, limit+1))
	var rows []keyRow
	for more := true; more && len(rows) <= limit; {
		if more, err = walk.next(func(r keyRow) { rows = append(rows, r) }); err != nil {
			return err
		}
	}
	var hours map[string][]uint64
	if active {
		if hours, err = j.keyHours(rows); err != nil {
			return err
		}
	}
	for _, r := range rows {
		walk.addKey(out, r, hours[r.KeyID])
	}
	return out.send(c)
}

// keyFilter is what the parameters of a list of keys ask for.
type keyFilter struct {
	at     keyPlace // where the page before ended
	part   string   // of name or key_id; "" for all
	status string   // "" for all
}

func keyFilterOf(p *params) keyFilter {
	var f keyFilter
	f.part, _ = p.text("q")
	f.status, _ = p.text("status")
	if at, ok := p.cursor(listKeys); ok && at.id > int64(len(at.name)) {
		p.refuse("cursor", "%v", errCursor)
	} else if ok {
		f.at = keyPlace{at.name[:at.id], at.name[at.id:]}
		if at.id == 0 {
			f.at = keyPlace{at.name, at.name}
		}
	}
	return f
}

// cursorPlace is the place as cursors have it: name and key_id in one text, and the length of the name, which is 0
// where both are the same.
func (p keyPlace) cursorPlace() place {
	if p.name == p.keyID {
		return place{name: p.name}
	}
	return place{id: int64(len(p.name)), name: p.name + p.keyID}
}

// matches says whether the filter lets a described key pass.
func (f keyFilter) matches(d *described) bool {
	part := strings.ToLower(f.part)
	return (f.status == "" || d.Status == f.status) &&
		(part == "" || strings.Contains(strings.ToLower(d.Name), part) || strings.Contains(strings.ToLower(d.KeyID), part))
}

// keySums is what ClickHouse knows of a key.
type keySums struct {
	key          string
	events, open uint64
	first, last  schema.Millis
	points       float64
}

// keysAre is the condition on the keys that a statement sums up: those after a key in a list, or a few by their ids.
func (j *job) keysAre(f keyFilter, only []string) *where {
	w := tenantIs(j.tenant)
	switch {
	case only != nil:
		w.and("key_id IN {only:Array(String)}")
		w.bind("only", only)
		return w
	case f.at.name > f.at.keyID: // the key whose id is this name stands behind the place
		w.and("key_id >= {at:String}")
		w.bind("at", f.at.name)
	default:
		w.and("key_id > {at:String}")
		w.bind("at", f.at.name)
	}
	if f.part != "" {
		w.and("positionCaseInsensitiveUTF8(key_id, {q:String}) > 0")
		w.bind("q", f.part)
	}
	return w
}

// keysStatement is the statement for the first limit keys of a condition, for all of them when it is 0.
func (j *job) keysStatement(w *where, limit int) (sql string, args []any) {
	j.actions.bind(w)
	bindNow(w, schema.MillisOf(j.q.cfg.Now()))
	keys := w.String() + " AND n > 0"
	page, same := groupKeys, w.String()
	if limit > 0 {
		w.bind("rows", limit)
		page += limitKeys
		same += " AND key_id IN (SELECT key_id FROM keys WHERE " + keys + page + ")"
	}
	alerts := same + " AND rule_id != '' AND " + j.actions.inState(schema.AlertOpen)
	points := same + " AND " + unfadedPoints
	return selectKeys + keys + page + joinAlerts + alerts + joinPoints + points + endKeys, w.args
}

// keysSettings let the server sum up keys in the order in which they lie, and send blocks of which this node can hold a
// few for each of many clients.
func keysSettings() clickhouse.Settings {
	return clickhouse.Settings{"optimize_aggregation_in_order": 1, "max_block_size": 8192}
}

// errCut says that the server has ended an answer early.
var errCut = errors.New("the answer ends before its last row")

// sumKeys carries out the statement.
func (j *job) sumKeys(w *where, limit int) ([]keySums, error) {
	sql, args := j.keysStatement(w, limit)
	var all []keySums
	whole := false
	err := j.eachWith("keys", sql, args, keysSettings(), func(rows driver.Rows) error {
		k, last, err := scanKey(rows)
		if whole = last; err == nil && !last {
			all = append(all, k)
		}
		return err
	})
	if err == nil && !whole {
		err = j.failure("keys", errCut)
	}
	return all, err
}

// scanKey reads a row of the statement; last says that it is no key, and that all have come.
func scanKey(rows driver.Rows) (k keySums, last bool, err error) {
	var whole uint8
	var first, latest int64
	err = rows.Scan(&whole, &k.key, &k.events, &first, &latest, &k.open, &k.points)
	k.first, k.last = schema.Millis(first), schema.Millis(latest)
	return k, whole == 1, err
}
