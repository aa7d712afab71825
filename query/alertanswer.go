package query

import (
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// alert is an alert with what people did with it.
type alert struct {
	answer.Alert
	Actions []answer.AlertAction // the newest first: in a list the last one alone
}

// scanAlert reads a row of selectAlerts.
func scanAlert(rows driver.Rows) (alert, error) {
	var a alert
	var severity uint8
	var version uint32
	var eventID, lastEventID uint64
	var raisedAt, lastAt int64
	err := rows.Scan(&a.ID, &a.RuleID, &version, &a.RuleName, &a.KeyID, &severity, &a.Message,
		&eventID, &raisedAt, &a.Hits, &lastEventID, &lastAt, &a.Values)
	a.RuleVersion, a.Severity, a.EventID = int64(version), schema.Severity(severity), int64(eventID)
	a.LastEventID = int64(lastEventID)
	a.RaisedAt, a.LastAt = schema.Millis(raisedAt), schema.Millis(lastAt)
	return a, err
}

// appendMembers appends the alert's members without braces.
func (a *alert) appendMembers(b []byte) []byte {
	if len(a.Actions) > 0 {
		a.Last = &a.Actions[0]
	}
	return a.AppendMembers(b)
}

// send answers with the alert and its actions, the oldest first.
func (a *alert) send(c *fiber.Ctx) error {
	b := append(a.appendMembers([]byte(`{"success":true,`)), `,"actions":[`...)
	for i := len(a.Actions) - 1; i >= 0; i-- {
		x := &a.Actions[i]
		b = answer.AppendString(append(b, `{"action":`...), string(x.Action))
		b = answer.AppendString(append(b, `,"by":`...), x.By)
		b = answer.AppendTime(append(b, `,"at":`...), x.At)
		b = append(x.AppendComment(append(b, `,"comment":`...)), '}')
		if i > 0 {
			b = append(b, ',')
		}
	}
	return httpapi.Raw(c, fiber.StatusOK, append(b, "]}"...))
}
