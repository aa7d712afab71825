package query

import (
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// selectEvents reads rows as scanEvent wants them.
const selectEvents = `SELECT
    id, key_id, event_type, toUInt8(severity), source_ip, actor, details, toUnixTimestamp64Milli(created_at),
    event_id, score, alerts
FROM events
WHERE `

// newestEvents ends the statement of a list. The order is that of the table's key, and of the projections of_key for a
// list of one key, critical and warning for those severities, so that the server reads backwards and stops at the limit.
const newestEvents = `
ORDER BY created_at DESC, id DESC
LIMIT {rows:UInt64}`

// eventParams are the parameters of GET /api/events.
var eventParams = []string{
	"key_id", "event_type", "severity", "actor", "source_ip", "since", "until", "min_score", "limit", "cursor",
	detailsPrefix,
}

// listEvents is GET /api/events: newest first.
func (q *Query) listEvents(c *fiber.Ctx) error {
	p, err := parseParams(c, eventParams...)
	if err != nil {
		return err
	}
	tenant := httpapi.IdentityOf(c).Tenant
	w := eventsWhere(tenant, p)
	out := newPage(listEvents, "events", p.limit())
	if err := p.err(); err != nil {
		return err
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	name, floor := q.spans.name(tenant, p.values), schema.Millis(0)
	if since, ok := p.time("since"); ok {
		floor = since
	}
	err = q.spans.walk(name, p.newest(schema.MillisOf(q.cfg.Now())), floor, func(from, to *schema.Millis) (schema.Millis, bool, error) {
		err := j.readEvents(w.span(from, to), out, from != nil)
		return out.last.at, out.more, err
	})
	if err != nil {
		return err
	}
	return out.send(c)
}

// readEvents adds the events of one span to the page, as many as it lacks and one more.
func (j *job) readEvents(w *where, out *page, short bool) error {
	w.bind("rows", out.limit+1-out.rows)
	return j.eachWith("events", selectEvents+w.String()+newestEvents, w.args, eventsSettings(short), func(rows driver.Rows) error {
		e, err := scanEvent(rows)
		if err != nil {
			return err
		}
		at := place{at: e.Event.CreatedAt, id: e.ID}
		out.add(at, func(b []byte) []byte { return answer.AppendEvent(b, e) })
		return nil
	})
}

// eventsSettings are those of details, and one thread for a short span: more only cost there.
func eventsSettings(short bool) clickhouse.Settings {
	settings := detailsSettings()
	if short {
		settings["max_threads"] = 1
	}
	return settings
}

// newest is where a list begins: at its cursor, at until, or now.
func (p *params) newest(now schema.Millis) schema.Millis {
	if at, ok := p.cursor(listEvents); ok {
		return at.at
	}
	if until, ok := p.time("until"); ok {
		return until
	}
	return now
}

// eventsWhere is the condition that the parameters make: a tenant's events, duplicates left out.
func eventsWhere(tenant auth.Tenant, p *params) *where {
	w := tenantIs(tenant)
	w.and("duplicate_of = 0")
	for _, column := range []string{"key_id", "event_type", "actor"} {
		w.equals(p, column)
	}
	if severity, ok := p.severity("severity"); ok {
		// One of three texts of our own, for a projection is used only where the condition is its own to the letter.
		w.and("severity = '" + severity.String() + "'")
	}
	if network, ok := p.network("source_ip"); ok {
		w.inNetwork(network)
	}
	if score, ok := p.integer("min_score", 0, schema.MaxScore); ok {
		w.and("score >= {min_score:UInt8}")
		w.bind("min_score", score)
	}
	w.between(p, "created_at")
	w.detailsAre(p)
	if at, ok := p.cursor(listEvents); ok {
		// The first half is what the table's index understands.
		w.and("created_at <= {at:DateTime64(3, 'UTC')} AND (created_at < {at:DateTime64(3, 'UTC')} OR id < {at_id:UInt64})")
		w.bindTime("at", at.at)
		w.bind("at_id", at.id)
	}
	return w
}

// scanEvent reads a row of selectEvents. A row stands in the table with its verdict, so it always has one.
func scanEvent(rows driver.Rows) (answer.Event, error) {
	var e schema.Event
	var id uint64
	var severity, score uint8
	var alerts uint16
	var createdAt int64
	err := rows.Scan(&id, &e.KeyID, &e.Type, &severity, &e.SourceIP, &e.Actor, &e.Details, &createdAt, &e.EventID, &score, &alerts)
	e.Severity, e.CreatedAt = schema.Severity(severity), schema.Millis(createdAt)
	return answer.Event{ID: int64(id), Event: &e, Alerts: int(alerts), Score: int(score), Evaluated: true}, err
}

// showEvent is GET /api/events/{id}.
func (q *Query) showEvent(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	missing := httpapi.NotFound("There is no event with this id.")
	id, err := strconv.ParseInt(c.Params("id"), 10, 64)
	if err != nil || id < 0 || id > schema.MaxID {
		return missing
	}
	w := tenantIs(httpapi.IdentityOf(c).Tenant)
	w.and("duplicate_of = 0")
	w.and("id = {id:UInt64}")
	w.bind("id", id)

	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	var body []byte
	err = j.each("event", selectEvents+w.String()+"\nLIMIT 1", w.args, func(rows driver.Rows) error {
		e, err := scanEvent(rows)
		body = append([]byte(`{"success":true,`), answer.AppendEventMembers(nil, e)...)
		return err
	})
	switch {
	case err != nil:
		return err
	case body == nil:
		return missing
	}
	return httpapi.Raw(c, fiber.StatusOK, append(body, '}'))
}
