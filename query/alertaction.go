package query

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

const (
	// maxComment is the characters of an action's comment.
	maxComment = 1000
	// maxActions is how many actions an alert shows: the newest.
	maxActions = 1000
)

// The ends of a statement that reads actions, newest first. An action may be there twice: held and stored.
const (
	lastOfEachAlert = `
ORDER BY kafka_offset DESC
LIMIT 1 BY alert_id`
	allOfOneAlert = `
ORDER BY kafka_offset DESC
LIMIT 1 BY kafka_offset
LIMIT {rows:UInt64}`
)

// seeActions fixes the actions that the job's statements see: all below rev, and what has been read beyond.
func (j *job) seeActions(rev int64) error {
	var err error
	if j.actions, err = j.q.cfg.Actions.view(j.ctx, j.tenant, rev); err != nil {
		return unavailable(httpapi.CodeUnavailable, "The states of the alerts are being read. Please try again.", err)
	}
	return nil
}

// addStates gives each alert its last action.
func (j *job) addStates(alerts []alert) error {
	if len(alerts) == 0 {
		return nil
	}
	ids := make([]string, len(alerts))
	byID := make(map[string]*alert, len(alerts))
	for i := range alerts {
		ids[i] = alerts[i].ID
		byID[ids[i]] = &alerts[i]
	}
	return j.eachAction(ids, lastOfEachAlert, func(id string, x answer.AlertAction) {
		a := byID[id]
		a.Actions = append(a.Actions, x)
	})
}

// addActions gives an alert its actions.
func (j *job) addActions(a *alert) error {
	return j.eachAction([]string{a.ID}, allOfOneAlert, func(_ string, x answer.AlertAction) { a.Actions = append(a.Actions, x) })
}

// eachAction reads the actions of some alerts.
func (j *job) eachAction(ids []string, end string, add func(id string, x answer.AlertAction)) error {
	w := tenantIs(j.tenant)
	j.actions.bind(w)
	w.bind("ids", ids)
	w.bind("rows", maxActions)
	sql := "SELECT alert_id, action, by, comment, at_ms\nFROM (\n        " + j.actions.actions() + "\n)\nWHERE alert_id IN {ids:Array(String)}" + end
	return j.each("actions", sql, w.args, func(rows driver.Rows) error {
		var id, name string
		var at int64
		var x answer.AlertAction
		err := rows.Scan(&id, &name, &x.By, &x.Comment, &at)
		x.Action, x.At = schema.AlertAction(name), schema.Millis(at)
		add(id, x)
		return err
	})
}

// actOnAlert is POST /api/alerts/{id}/ack, resolve and reopen. Actions are appended and have no versions, so that two
// people who act at once both count; the last one in the log decides. The answer is the alert as it is when this node
// has read its own record back, perhaps with somebody else's after it.
func (q *Query) actOnAlert(what schema.AlertAction) fiber.Handler {
	return func(c *fiber.Ctx) error {
		comment, err := readComment(c)
		if err != nil {
			return err
		}
		identity := httpapi.IdentityOf(c)
		// A write that has begun is not given up because nobody waits for its answer.
		j := q.newJob(identity.Tenant, httpapi.RequestID(c), q.cfg.StatementTimeout)
		defer j.end()
		a, err := j.alert(strings.Clone(c.Params("id")))
		if err != nil {
			return err
		}
		offset, err := j.appendAction(schema.AlertActionRecord{
			Tenant: identity.Tenant.Name(), AlertID: a.ID, RaisedAt: a.RaisedAt, Action: what,
			By: identity.KeyID, Comment: comment, At: schema.MillisOf(q.cfg.Now()),
		})
		if err != nil {
			return err
		}
		if a, err = j.alertWithActions(a.ID, offset+1); err != nil {
			return err
		}
		return a.send(c)
	}
}

// appendAction writes a record to the log. What is under way when the time is up may be in the log.
func (j *job) appendAction(rec schema.AlertActionRecord) (offset int64, err error) {
	if j.q.cfg.Actions.full() {
		return 0, unavailable(codeBehind, "Too many actions wait to be stored. Please try again.", nil)
	}
	offset, err = j.q.cfg.AppendAction(j.ctx, rec)
	if err != nil {
		cause := fmt.Errorf("write action on alert %s: %w", rec.AlertID, err)
		return 0, unavailable(codeOutcomeUnknown, "The action may or may not have been recorded: read the alert and try again.", cause)
	}
	return offset, nil
}

// codeBehind is the `code` of a failure: the sink is too far behind.
const codeBehind = "store_behind"

// readComment reads the body of an action: none, or {"comment": "…"}.
func readComment(c *fiber.Ctx) (string, error) {
	if _, err := parseParams(c); err != nil {
		return "", err
	}
	body, err := httpapi.Body(c, httpapi.DefaultBodyLimit)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return "", err
	}
	comment, wrong, err := parseComment(body)
	switch {
	case err != nil:
		return "", httpapi.BadRequest(httpapi.CodeMalformedJSON, "Malformed JSON: "+err.Error()+".")
	case wrong != nil:
		return "", httpapi.InvalidFields(wrong...)
	}
	return comment, nil
}

// parseComment reads {"comment": "…"}; null is none. The error is about what is not JSON.
func parseComment(body []byte) (comment string, wrong []httpapi.FieldError, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	object, err := d.ReadValue()
	if err != nil {
		return "", nil, err
	}
	if object.Kind() != '{' {
		return "", []httpapi.FieldError{{Message: "expected a JSON object"}}, nil
	}
	if rest := bytes.TrimSpace(body[d.InputOffset():]); len(rest) > 0 {
		return "", []httpapi.FieldError{{Message: "unexpected data after the JSON object"}}, nil
	}
	members := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := members.ReadToken(); err != nil {
		return "", nil, err
	}
	for members.PeekKind() == '"' {
		name, err := members.ReadToken()
		if err != nil {
			return "", nil, err
		}
		field := name.String()
		value, err := members.ReadToken()
		switch {
		case err != nil:
			return "", nil, err
		case field != "comment":
			return "", []httpapi.FieldError{unknownField(field, "comment")}, nil
		case value.Kind() == 'n':
		case value.Kind() != '"':
			return "", []httpapi.FieldError{{Field: field, Message: "must be a string"}}, nil
		case utf8.RuneCountInString(value.String()) > maxComment:
			return "", []httpapi.FieldError{{Field: field, Message: fmt.Sprintf("must be at most %d characters", maxComment)}}, nil
		default:
			comment = value.String()
		}
	}
	return comment, nil, nil
}

// unknownField is what is wrong with a member that an object does not have.
func unknownField(name string, known ...string) httpapi.FieldError {
	problem := "unknown field"
	if near, ok := httpapi.Nearest(name, known); ok {
		problem += ", did you mean " + strconv.Quote(near) + "?"
	}
	return httpapi.FieldError{Field: httpapi.Printable(name), Message: problem}
}
