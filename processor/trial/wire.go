package trial

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wireTest is a test as it is written.
type wireTest struct {
	Name   string      `json:"name"`
	With   []string    `json:"with"`
	Start  *string     `json:"start"`
	Event  wireEvent   `json:"event"` // what the events leave out
	Events []wireEvent `json:"events"`
	Alerts *wireAlerts `json:"alerts"`
}

// wireEvent is an event, or several alike.
type wireEvent struct {
	At        *string        `json:"at"`
	Repeat    *int           `json:"repeat"`
	Every     *string        `json:"every"`
	KeyID     *string        `json:"key_id"`
	EventType *string        `json:"event_type"`
	Severity  *string        `json:"severity"`
	SourceIP  *string        `json:"source_ip"`
	Actor     *string        `json:"actor"`
	Details   jsontext.Value `json:"details"`
	EventID   *string        `json:"event_id"`
}

// wireAlert is an alert as a test expects it.
type wireAlert struct {
	At       *string `json:"at"`
	Rule     *string `json:"rule"`
	KeyID    *string `json:"key_id"`
	Severity *string `json:"severity"`
	Message  *string `json:"message"`
	Hits     *int64  `json:"hits"`
	Score    *int    `json:"score"`
}

// wireAlerts is a number of alerts, or a list of them.
type wireAlerts struct {
	count int
	list  []wireAlert // nil for a number
}

// UnmarshalJSONFrom reads a number or a list.
func (w *wireAlerts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return json.UnmarshalDecode(d, &w.list)
	}
	return json.UnmarshalDecode(d, &w.count)
}

// The members that there are, for those who misspell one.
const (
	testMembers  = "a test has name, with, start, event, events, alerts"
	eventMembers = "an event has at, repeat, every, key_id, event_type, severity, source_ip, actor, details, event_id"
	alertMembers = "an alert has at, rule, key_id, severity, message, hits, score"
)

// wanted says what a member must be, where that is not a text.
var wanted = map[string]string{
	"with":   "must be a list of rule ids",
	"event":  "must be a mapping: " + eventMembers,
	"events": "must be a list of events",
	"alerts": "must be a number of alerts, or a list of them",
	"repeat": wantRepeat,
	"hits":   "must be an integer of at least 1",
	"score":  "must be an integer from 0 to 100",
}

// decodeTests reads the tests of a rule as they are written.
func decodeTests(raw []byte) ([]wireTest, *problem) {
	var tests []wireTest
	err := json.Unmarshal(raw, &tests, json.RejectUnknownMembers(true))
	if err == nil {
		return tests, nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		at := semantic.JSONPointer
		if errors.Is(err, json.ErrUnknownName) {
			return nil, &problem{at: at, name: true, message: "there is no such member; " + membersOf(at.Parent())}
		}
		return nil, &problem{at: at, message: wantedAt(at)}
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		message := syntactic.Err.Error()
		if errors.Is(err, jsontext.ErrDuplicateName) {
			message = "the member comes twice"
		}
		return nil, &problem{at: syntactic.JSONPointer, name: true, message: message}
	}
	return nil, &problem{message: err.Error()}
}

// wantedAt says what the value at a place must be.
func wantedAt(at jsontext.Pointer) string {
	switch name, parent := at.LastToken(), at.Parent().LastToken(); {
	case at == "":
		return "must be a list of tests"
	case at.Parent() == "":
		return "must be a mapping: " + testMembers
	case parent == "events":
		return "must be a mapping: " + eventMembers
	case parent == "alerts":
		return "must be a mapping: " + alertMembers
	case wanted[name] != "":
		return wanted[name]
	default:
		return "must be a text"
	}
}

// membersOf names the members of the object at a place.
func membersOf(at jsontext.Pointer) string {
	switch {
	case at.LastToken() == "event" || at.Parent().LastToken() == "events":
		return eventMembers
	case at.Parent().LastToken() == "alerts":
		return alertMembers
	default:
		return testMembers
	}
}

// problem is something that is wrong with the tests of a rule.
type problem struct {
	at      jsontext.Pointer // below the rule's tests
	name    bool             // it is the member's name that is wrong, not its value
	message string
}

// field writes the place as "tests[0].events[2].at".
func (p *problem) field() string {
	var b strings.Builder
	b.WriteString("tests")
	for token := range p.at.Tokens() {
		if strings.Trim(token, "0123456789") == "" {
			fmt.Fprintf(&b, "[%s]", token)
		} else {
			b.WriteString("." + token)
		}
	}
	return b.String()
}
