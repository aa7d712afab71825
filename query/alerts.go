package query

import (
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// An alert is several rows until the server has merged them: the alert's own, repeated perhaps after a crash, and one
// for each batch of hits, with empty text and larger numbers. What identifies an alert and never changes is in its own
// row, so filters, order and limit work on those alone and read a page and not a history; the numbers are then the
// largest of all rows of the page's alerts.
const (
	selectAlerts = `SELECT
    id, max(rule_id), max(rule_version), max(rule_name), max(key_id), max(severity), max(message),
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
var alertStates = []string{string(schema.AlertOpen), string(schema.AlertAcked), string(schema.AlertResolved)}

var alertParams = []string{"rule", "key_id", "state", "severity", "since", "until", "event_id", "limit", "cursor"}

// errNoAlert is also the answer for the alert of another tenant.
var errNoAlert = httpapi.NotFound("There is no alert with this id.")

// listAlerts is GET /api/alerts: newest first, by raised_at, then id, descending.
func (q *Query) listAlerts(c *fiber.Ctx) error {
	p, err := parseParams(c, alertParams...)
	if err != nil {
		return err
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	if err := j.seeActions(0); err != nil {
		return err
	}
	w := alertsWhere(j.tenant, p, j.actions)
	out := newPage(listAlerts, "alerts", p.limit())
	if err := p.err(); err != nil {
		return err
	}
	w.bind("rows", out.limit+1)
	alerts, err := j.alerts(w)
	if err != nil {
		return err
	}
	if err := j.addStates(alerts); err != nil {
		return err
	}
	for i := range alerts {
		a := &alerts[i]
		out.add(place{at: a.RaisedAt, name: a.ID}, func(b []byte) []byte { return append(a.appendMembers(append(b, '{')), '}') })
	}
	return out.send(c)
}

// alertsWhere is the condition on an alert's own row.
func alertsWhere(tenant auth.Tenant, p *params, actions actionsView) *where {
	w := tenantIs(tenant)
	w.and("rule_id != ''")
	if rule, ok := p.text("rule"); ok {
		w.and("rule_id = {rule:String}")
		w.bind("rule", rule)
	}
	w.equals(p, "key_id")
	if state, ok := p.oneOf("state", alertStates); ok {
		w.and(actions.inState(schema.AlertState(state)))
		actions.bind(w)
	}
	if severity, ok := p.severity("severity"); ok {
		w.and("severity = {severity:UInt8}")
		w.bind("severity", int(severity))
	}
	if event, ok := p.integer("event_id", 1, schema.MaxID); ok {
		w.and("id IN (SELECT id FROM alerts WHERE tenant = {tenant:String} AND (event_id = {event:UInt64} OR last_event_id = {event:UInt64}))")
		w.bind("event", event)
	}
	w.between(p, "raised_at")
	if at, ok := p.cursor(listAlerts); ok {
		w.and("raised_at <= {at:DateTime64(3, 'UTC')} AND (raised_at < {at:DateTime64(3, 'UTC')} OR id < {at_id:String})")
		w.bindTime("at", at.at)
		w.bind("at_id", at.name)
	}
	return w
}

// alerts reads the newest alerts for which w holds; w binds rows.
func (j *job) alerts(w *where) ([]alert, error) {
	var alerts []alert
	err := j.each("alerts", selectAlerts+w.String()+newestAlerts, w.args, func(rows driver.Rows) error {
		a, err := scanAlert(rows)
		alerts = append(alerts, a)
		return err
	})
	return alerts, err
}

// showAlert is GET /api/alerts/{id}.
func (q *Query) showAlert(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	j := q.begin(c, q.cfg.StatementTimeout)
	defer j.end()
	a, err := j.alertWithActions(c.Params("id"), 0)
	if err != nil {
		return err
	}
	return a.send(c)
}

// alert returns an alert without its actions.
func (j *job) alert(id string) (alert, error) {
	w := tenantIs(j.tenant)
	w.and("rule_id != ''")
	w.and("id = {id:String}")
	w.bind("id", id)
	w.bind("rows", 1)
	alerts, err := j.alerts(w)
	switch {
	case err != nil:
		return alert{}, err
	case len(alerts) == 0:
		return alert{}, errNoAlert
	}
	return alerts[0], nil
}

// alertWithActions returns an alert after the actions below rev and perhaps later ones.
func (j *job) alertWithActions(id string, rev int64) (alert, error) {
	if err := j.seeActions(rev); err != nil {
		return alert{}, err
	}
	a, err := j.alert(id)
	if err != nil {
		return a, err
	}
	return a, j.addActions(&a)
}
