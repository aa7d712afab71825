package query

import (
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// An alert is several rows until the server has merged them: the alert's own, repeated perhaps after a crash, and one
// for each batch of hits, with empty text and larger numbers. What identifies an alert and never changes is in its own
// row, so filters, order and limit work on those alone and read a page and not a history; the numbers are then the
// largest of all rows of the page's alerts.
//
// The state is a column of both halves although it has one value until people can act on alerts.
const (
	selectAlerts = `SELECT
    id, max(rule_id), max(rule_version), max(rule_name), max(key_id), max(severity), 'open' AS state, max(message),
    max(event_id), toUnixTimestamp64Milli(raised_at), max(hits), max(last_event_id),
    toUnixTimestamp64Milli(max(last_at)), max(values)
FROM alerts
WHERE tenant = {tenant:String} AND (raised_at, id) IN (
    SELECT raised_at, id
    FROM alerts
    WHERE `
	newestAlerts = `
    ORDER BY raised_at DESC, id DESC
    LIMIT 1 BY raised_at, id
    LIMIT {rows:UInt64})
GROUP BY raised_at, id
ORDER BY raised_at DESC, id DESC`
)

// alertStates are the states of an alert, as the API names them.
var alertStates = []string{stateOpen, "acked", "resolved"}

const stateOpen = "open"

var alertParams = []string{"rule", "key_id", "state", "severity", "since", "until", "limit", "cursor"}

// listAlerts is GET /api/alerts: newest first, by raised_at, then id, descending.
func (q *Query) listAlerts(c *fiber.Ctx) error {
	p, err := parseParams(c, alertParams...)
	if err != nil {
		return err
	}
	w := alertsWhere(httpapi.IdentityOf(c).Tenant, p)
	out := newPage(listAlerts, "alerts", p.limit())
	if err := p.err(); err != nil {
		return err
	}
	w.bind("rows", out.limit+1)

	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	err = j.each("alerts", selectAlerts+w.String()+newestAlerts, w.args, func(rows driver.Rows) error {
		a, err := scanAlert(rows)
		if err != nil {
			return err
		}
		out.add(place{at: a.RaisedAt, name: a.ID}, func(b []byte) []byte { return append(a.appendMembers(append(b, '{')), '}') })
		return nil
	})
	if err != nil {
		return err
	}
	return out.send(c)
}

// alertsWhere is the condition on an alert's own row.
func alertsWhere(tenant schema.Tenant, p *params) *where {
	w := tenantIs(tenant)
	w.and("rule_id != ''")
	if rule, ok := p.text("rule"); ok {
		w.and("rule_id = {rule:String}")
		w.bind("rule", rule)
	}
	w.equals(p, "key_id")
	if state, ok := p.oneOf("state", alertStates); ok {
		w.and("'open' = {state:String}")
		w.bind("state", state)
	}
	if severity, ok := p.severity("severity"); ok {
		w.and("severity = {severity:UInt8}")
		w.bind("severity", int(severity))
	}
	w.between(p, "raised_at")
	if at, ok := p.cursor(listAlerts); ok {
		w.and("raised_at <= {at:DateTime64(3, 'UTC')} AND (raised_at < {at:DateTime64(3, 'UTC')} OR id < {at_id:String})")
		w.bindTime("at", at.at)
		w.bind("at_id", at.name)
	}
	return w
}

// alert is an alert with what has happened since it was raised.
type alert struct {
	schema.Alert
	KeyID       string
	State       string
	Hits        uint64
	LastEventID uint64
	LastAt      schema.Millis
}

func scanAlert(rows driver.Rows) (alert, error) {
	var a alert
	var severity uint8
	var version uint32
	var eventID uint64
	var raisedAt, lastAt int64
	err := rows.Scan(&a.ID, &a.RuleID, &version, &a.RuleName, &a.KeyID, &severity, &a.State, &a.Message,
		&eventID, &raisedAt, &a.Hits, &a.LastEventID, &lastAt, &a.Values)
	a.RuleVersion, a.Severity, a.EventID = int64(version), schema.Severity(severity), int64(eventID)
	a.RaisedAt, a.LastAt = schema.Millis(raisedAt), schema.Millis(lastAt)
	return a, err
}

// appendMembers appends the alert's members in the order of the rules' reference, without braces.
func (a *alert) appendMembers(b []byte) []byte {
	text := func(name, value string) {
		b = append(b, name...)
		b = answer.AppendString(b, value)
	}
	number := func(name string, value uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, value, 10)
	}
	text(`"id":`, a.ID)
	text(`,"rule_id":`, a.RuleID)
	number(`,"rule_version":`, uint64(a.RuleVersion))
	text(`,"rule_name":`, a.RuleName)
	text(`,"key_id":`, a.KeyID)
	text(`,"severity":`, a.Severity.String())
	text(`,"state":`, a.State)
	text(`,"message":`, a.Message)
	number(`,"event_id":`, uint64(a.EventID))
	b = answer.AppendTime(append(b, `,"raised_at":`...), a.RaisedAt)
	number(`,"hits":`, a.Hits)
	number(`,"last_event_id":`, a.LastEventID)
	b = answer.AppendTime(append(b, `,"last_at":`...), a.LastAt)
	b = append(b, `,"values":`...)
	if len(a.Values) == 0 {
		return append(b, "{}"...)
	}
	return append(b, a.Values...)
}

// showAlert is GET /api/alerts/{id}.
func (q *Query) showAlert(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	w := tenantIs(httpapi.IdentityOf(c).Tenant)
	w.and("rule_id != ''")
	w.and("id = {id:String}")
	w.bind("id", c.Params("id"))
	w.bind("rows", 1)

	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	var body []byte
	err := j.each("alert", selectAlerts+w.String()+newestAlerts, w.args, func(rows driver.Rows) error {
		a, err := scanAlert(rows)
		body = append(a.appendMembers([]byte(`{"success":true,`)), '}')
		return err
	})
	switch {
	case err != nil:
		return err
	case body == nil:
		return httpapi.NotFound("There is no alert with this id.")
	}
	return httpapi.Raw(c, fiber.StatusOK, body)
}
