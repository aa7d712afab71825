package query

import (
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// alert is an alert with what has happened since it was raised.
type alert struct {
	schema.Alert
	KeyID       string
	Hits        uint64
	LastEventID uint64
	LastAt      schema.Millis
	Actions     []action // the newest first: in a list the last one alone
}

// action is what one person did with an alert.
type action struct {
	Action  schema.AlertAction
	By      string
	Comment string // "" for none
	At      schema.Millis
}

// state is where people are with the alert.
func (a *alert) state() schema.AlertState {
	if len(a.Actions) == 0 {
		return schema.AlertOpen
	}
	return a.Actions[0].Action.State()
}

// scanAlert reads a row of selectAlerts.
func scanAlert(rows driver.Rows) (alert, error) {
	var a alert
	var severity uint8
	var version uint32
	var eventID uint64
	var raisedAt, lastAt int64
	err := rows.Scan(&a.ID, &a.RuleID, &version, &a.RuleName, &a.KeyID, &severity, &a.Message,
		&eventID, &raisedAt, &a.Hits, &a.LastEventID, &lastAt, &a.Values)
	a.RuleVersion, a.Severity, a.EventID = int64(version), schema.Severity(severity), int64(eventID)
	a.RaisedAt, a.LastAt = schema.Millis(raisedAt), schema.Millis(lastAt)
	return a, err
}

// appendMembers appends the alert's members in the order of the rules' reference, without braces; who brought it into
// its state comes after them.
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
	text(`,"state":`, string(a.state()))
	text(`,"message":`, a.Message)
	number(`,"event_id":`, uint64(a.EventID))
	b = answer.AppendTime(append(b, `,"raised_at":`...), a.RaisedAt)
	number(`,"hits":`, a.Hits)
	number(`,"last_event_id":`, a.LastEventID)
	b = answer.AppendTime(append(b, `,"last_at":`...), a.LastAt)
	b = append(b, `,"values":`...)
	if len(a.Values) == 0 {
		b = append(b, "{}"...)
	}
	b = append(b, a.Values...)
	return a.appendLast(b)
}

// appendLast appends what the last action says, null when there was none.
func (a *alert) appendLast(b []byte) []byte {
	if len(a.Actions) == 0 {
		return append(b, `,"state_by":null,"state_at":null,"state_comment":null`...)
	}
	last := &a.Actions[0]
	b = answer.AppendString(append(b, `,"state_by":`...), last.By)
	b = answer.AppendTime(append(b, `,"state_at":`...), last.At)
	return last.appendComment(append(b, `,"state_comment":`...))
}

func (x *action) appendComment(b []byte) []byte {
	if x.Comment == "" {
		return append(b, "null"...)
	}
	return answer.AppendString(b, x.Comment)
}

// send answers with the alert and its actions, the oldest first.
func (a *alert) send(c *fiber.Ctx) error {
	b := append(a.appendMembers([]byte(`{"success":true,`)), `,"actions":[`...)
	for i := len(a.Actions) - 1; i >= 0; i-- {
		x := &a.Actions[i]
		b = answer.AppendString(append(b, `{"action":`...), string(x.Action))
		b = answer.AppendString(append(b, `,"by":`...), x.By)
		b = answer.AppendTime(append(b, `,"at":`...), x.At)
		b = append(x.appendComment(append(b, `,"comment":`...)), '}')
		if i > 0 {
			b = append(b, ',')
		}
	}
	return httpapi.Raw(c, fiber.StatusOK, append(b, "]}"...))
}
