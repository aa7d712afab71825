package answer

import (
	"strconv"

	"keypulse/schema"
)

// Alert is an alert with what has happened since it was raised.
type Alert struct {
	schema.Alert
	KeyID       string
	Hits        uint64
	LastEventID int64
	LastAt      schema.Millis
	Last        *AlertAction // what was done with it last; nil for nothing
}

// AlertAction is what one person did with an alert.
type AlertAction struct {
	Action  schema.AlertAction
	By      string
	Comment string // "" for none
	At      schema.Millis
}

// State is where people are with the alert.
func (a *Alert) State() schema.AlertState {
	if a.Last == nil {
		return schema.AlertOpen
	}
	return a.Last.Action.State()
}

// AppendMembers appends the alert's members to b, in the order of the rules' reference and without braces; who brought it
// into its state comes after them.
func (a *Alert) AppendMembers(b []byte) []byte {
	text := func(name, value string) {
		b = append(b, name...)
		b = AppendString(b, value)
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
	text(`,"state":`, string(a.State()))
	text(`,"message":`, a.Message)
	number(`,"event_id":`, uint64(a.EventID))
	b = AppendTime(append(b, `,"raised_at":`...), a.RaisedAt)
	number(`,"hits":`, a.Hits)
	number(`,"last_event_id":`, uint64(a.LastEventID))
	b = AppendTime(append(b, `,"last_at":`...), a.LastAt)
	b = append(b, `,"values":`...)
	if len(a.Values) == 0 {
		b = append(b, "{}"...)
	}
	b = append(b, a.Values...)
	if a.Last == nil {
		return append(b, `,"state_by":null,"state_at":null,"state_comment":null`...)
	}
	b = AppendString(append(b, `,"state_by":`...), a.Last.By)
	b = AppendTime(append(b, `,"state_at":`...), a.Last.At)
	return a.Last.AppendComment(append(b, `,"state_comment":`...))
}

// AppendComment appends the comment, null for none, to b.
func (x *AlertAction) AppendComment(b []byte) []byte { return appendStringOrNull(b, x.Comment) }
