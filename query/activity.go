package query

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// The bounds of an activity.
const (
	activityMinute = 60
	maxStep        = 7 * 86_400 // seconds
	maxSteps       = 1_500
)

// selectActivity counts events and raised alerts by steps of time. Events of all keys come from the rollup, which has whole
// minutes; those of one key from the events themselves, which lie together.
const (
	selectActivity = `SELECT at, sum(nominal), sum(warning), sum(critical), sum(alerts)
FROM (
    SELECT
        toInt64(intDiv(toUnixTimestamp(`
	activityOfAll = `minute), {step:UInt32})) AS at,
        sumIf(n, severity = 'nominal') AS nominal, sumIf(n, severity = 'warning') AS warning, sumIf(n, severity = 'critical') AS critical,
        toUInt64(0) AS alerts
    FROM activity_by_minute
    WHERE tenant = {tenant:String} AND minute >= toDateTime({first:DateTime64(3, 'UTC')}) AND minute < {end:DateTime64(3, 'UTC')}
    GROUP BY at`
	activityOfKey = `created_at), {step:UInt32})) AS at,
        countIf(severity = 'nominal') AS nominal, countIf(severity = 'warning') AS warning, countIf(severity = 'critical') AS critical,
        toUInt64(0) AS alerts
    FROM events
    WHERE tenant = {tenant:String} AND key_id = {key_id:String} AND duplicate_of = 0
        AND created_at >= {first:DateTime64(3, 'UTC')} AND created_at < {end:DateTime64(3, 'UTC')}
    GROUP BY at`
	activityAlerts = `
    UNION ALL
    SELECT toInt64(intDiv(toUnixTimestamp(raised_at), {step:UInt32})), toUInt64(0), toUInt64(0), toUInt64(0), uniqExact(id)
    FROM alerts
    WHERE tenant = {tenant:String} AND rule_id != '' AND raised_at >= {first:DateTime64(3, 'UTC')} AND raised_at < {end:DateTime64(3, 'UTC')}`
	endActivity = `
    GROUP BY 1
)
GROUP BY at
ORDER BY at`
)

// showActivity is GET /api/activity: how many events of each severity and how many alerts there were in each step of time,
// of all keys or of one.
func (q *Query) showActivity(c *fiber.Ctx) error {
	p, err := parseParams(c, "key_id", "since", "until", "step")
	if err != nil {
		return err
	}
	key, ofKey := p.text("key_id")
	first, end, step := q.activitySteps(p)
	if err := p.err(); err != nil {
		return err
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	w := tenantIs(j.tenant)
	w.bind("step", step)
	w.bindTime("first", first)
	w.bindTime("end", end)
	sql := selectActivity + activityOfAll + activityAlerts + endActivity
	if ofKey {
		w.bind("key_id", key)
		sql = selectActivity + activityOfKey + activityAlerts + " AND key_id = {key_id:String}" + endActivity
	}
	b := answer.AppendTime([]byte(`{"success":true,"since":`), first)
	b = answer.AppendTime(append(b, `,"until":`...), end)
	b = strconv.AppendInt(append(b, `,"step":`...), int64(step), 10)
	b = append(b, `,"activity":[`...)
	rows := 0
	err = j.each("activity", sql, w.args, func(r driver.Rows) error {
		var at int64
		var n [4]uint64
		if err := r.Scan(&at, &n[0], &n[1], &n[2], &n[3]); err != nil {
			return err
		}
		if rows++; rows > 1 {
			b = append(b, ',')
		}
		b = answer.AppendTime(append(b, `{"at":`...), schema.Millis(at*int64(step)*1000))
		for i, name := range [...]string{"nominal", "warning", "critical", "alerts"} {
			b = append(append(append(b, `,"`...), name...), `":`...)
			b = strconv.AppendUint(b, n[i], 10)
		}
		b = append(b, '}')
		return nil
	})
	if err != nil {
		return err
	}
	return httpapi.Raw(c, fiber.StatusOK, append(j.appendBehind(append(b, ']')), '}'))
}

// activitySteps reads the times and the step, in seconds. The first step is whole.
func (q *Query) activitySteps(p *params) (first, end schema.Millis, step int) {
	step, ok := p.integer("step", activityMinute, maxStep)
	switch {
	case !ok:
		step = activityMinute
	case step%activityMinute != 0:
		p.refuse("step", "must be whole minutes, in seconds")
		step = activityMinute
	}
	end, ok = p.time("until")
	if !ok {
		end = schema.MillisOf(q.cfg.Now())
	}
	first, ok = p.time("since")
	if !ok {
		first = end - schema.Millis(time.Hour.Milliseconds())
	}
	first -= first % schema.Millis(step*1000)
	if (end-first)/schema.Millis(step*1000) > maxSteps {
		p.refuse("since", "is more than %d steps before until", maxSteps)
	}
	return first, end, step
}

// appendBehind appends how far behind the log the tables are, null where nobody knows.
func (j *job) appendBehind(b []byte) []byte {
	b = append(b, `,"behind_ms":`...)
	if j.q.cfg.Behind == nil {
		return append(b, "null"...)
	}
	behind, err := j.q.cfg.Behind(j.ctx)
	if err != nil {
		j.q.cfg.Log.Warn("cannot tell how far behind the tables are", zap.Error(err))
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, behind.Milliseconds(), 10)
}

// keyHours is a day of activity of each of the keys of a page: the events of the last 24 hours by the clock's hours, the
// running one last.
const hoursShown = 24

const selectHours = `SELECT key_id, toInt64(intDiv(toUnixTimestamp(created_at), 3600)) AS hour, count()
FROM events
WHERE tenant = {tenant:String} AND key_id IN {only:Array(String)} AND duplicate_of = 0 AND created_at >= {first:DateTime64(3, 'UTC')}
GROUP BY key_id, hour`

func (j *job) keyHours(rows []keyRow) (map[string][]uint64, error) {
	const hour = 3_600_000
	first := int64(schema.MillisOf(j.q.cfg.Now()))/hour - hoursShown + 1
	hours := make(map[string][]uint64, len(rows))
	only := make([]string, len(rows))
	for i, r := range rows {
		only[i] = r.KeyID
		hours[r.KeyID] = make([]uint64, hoursShown)
	}
	w := tenantIs(j.tenant)
	w.bind("only", only)
	w.bindTime("first", schema.Millis(first*hour))
	err := j.each("hours", selectHours, w.args, func(r driver.Rows) error {
		var key string
		var at int64
		var n uint64
		err := r.Scan(&key, &at, &n)
		if i := at - first; err == nil && i >= 0 {
			hours[key][min(i, hoursShown-1)] += n // a node's clock may be a little ahead
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count hours: %w", err)
	}
	return hours, nil
}

// appendHours appends the member activity.
func appendHours(b []byte, hours []uint64) []byte {
	b = append(b, `,"activity":[`...)
	for i, n := range hours {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return append(b, ']')
}
