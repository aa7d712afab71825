package query

import (
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// topDays is how far back an answer looks for who uses a key, and topShown how many of each sort it names.
const (
	topDays  = 30
	topShown = 10
)

// selectTop counts a key's events by actor, by address and by type, in one reading of its rows.
const selectTop = `SELECT what, name, count() AS n, toUnixTimestamp64Milli(max(created_at))
FROM events
ARRAY JOIN ['actors', 'source_ips', 'event_types'] AS what, [actor, source_ip, event_type] AS name
WHERE tenant = {tenant:String} AND key_id = {key_id:String} AND duplicate_of = 0 AND created_at >= {first:DateTime64(3, 'UTC')} AND name != ''
GROUP BY what, name
ORDER BY what, n DESC, name
LIMIT {rows:UInt64} BY what`

// showKey is GET /api/keys/{key_id}: the key as the list shows it, and who has used it, from where and for what.
func (q *Query) showKey(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	keyID, err := pathKeyID(c)
	if err != nil {
		return err
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	if err := j.seeActions(0); err != nil {
		return err
	}
	sums, err := j.sumKeys(j.keysAre(keyFilter{}, []string{keyID}), 0)
	if err != nil {
		return err
	}
	row := keyRow{KeyRecord: plainRecord(keyID)}
	if len(sums) > 0 {
		row.sums = sums[0]
	}
	switch d := q.cfg.Keyring.get(j.tenant, keyID); {
	case d != nil:
		row.KeyRecord = &d.KeyRecord
	case len(sums) == 0:
		return httpapi.NotFound("There is no key with this key_id.")
	}
	top, err := j.top(keyID)
	if err != nil {
		return err
	}
	b := appendKey([]byte(`{"success":true,`), j.tenant, row.KeyRecord, row.sums)
	for _, what := range [...]string{"actors", "source_ips", "event_types"} {
		b = append(append(append(append(b, `,"`...), what...), `":[`...), top[what]...)
		b = append(b, ']')
	}
	return httpapi.Raw(c, fiber.StatusOK, append(b, '}'))
}

// top is the lists of an answer, as JSON without their brackets.
func (j *job) top(keyID string) (map[string][]byte, error) {
	w := tenantIs(j.tenant)
	w.bind("key_id", keyID)
	w.bindTime("first", schema.MillisOf(j.q.cfg.Now().Add(-topDays*24*time.Hour)))
	w.bind("rows", topShown)
	lists := map[string][]byte{}
	err := j.each("top", selectTop, w.args, func(r driver.Rows) error {
		var what, name string
		var n uint64
		var last int64
		if err := r.Scan(&what, &name, &n, &last); err != nil {
			return err
		}
		b := lists[what]
		if b != nil {
			b = append(b, ',')
		}
		b = answer.AppendString(append(b, `{"name":`...), name)
		b = strconv.AppendUint(append(b, `,"event_count":`...), n, 10)
		b = answer.AppendTime(append(b, `,"last_activity":`...), schema.Millis(last))
		lists[what] = append(b, '}')
		return nil
	})
	return lists, err
}
