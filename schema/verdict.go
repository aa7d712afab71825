package schema

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Verdict is what the processor found in a chunk of one partition: offsets From to To-1. It is one record of the
// verdicts topic, and the watermark of its partition too: everything below To is judged. Most events are ordinary
// (the base score of their severity, no hit); only the others are listed.
//
// A replay may repeat a verdict with other chunk borders, but never with other content: readers keep the largest To
// they have seen and skip what lies below it.
type Verdict struct {
	From, To int64
	// LogTime is the largest created_at below From in the partition; a row's log_time is the running maximum.
	LogTime    Millis
	Exceptions []Exception // by rising offset
	// Counts are the rules whose counts have changed, as they are below To; some that have not may be among them.
	Counts []RuleCounts
	// Counted is the sum of hits, shadow hits and errors of all rules and their versions below To: the proof that no count
	// is missing. 0: nothing has been counted, or the counts that this verdict could not hold follow with the next one.
	Counted int64
}

// Exception is what the processor found about one event that is not ordinary.
type Exception struct {
	Offset int64
	Score  int
	// DuplicateOf is the id of the first event with the same event_id, 0 when this one is the first. Of a duplicate, Score
	// and FirstAlerts are what was found about the first: its score, and how many alerts it raised.
	DuplicateOf int64
	FirstAlerts int
	Alerts      []Alert // that this event raised, by rule id
	Hits        []Hit   // on alerts that earlier events raised, by rule id
}

// Hit is a rule that held again while its alert was young: it counts on the alert. Its numbers are the alert's
// whole so far, so that reading a hit twice or late does no harm.
type Hit struct {
	AlertID  string
	RaisedAt Millis // of the alert
	Hits     int64  // of the alert, this one included
	At       Millis // this event's effective time
}

// Alert is a rule's finding about a key. Field names are those of the API.
type Alert struct {
	ID          string
	RuleID      string
	RuleVersion int64
	RuleName    string
	Severity    Severity
	Message     string
	EventID     int64 // the event that raised it
	RaisedAt    Millis
	Values      []byte // a JSON object: the rule's aggregates and what they were
}

const (
	verdictFrom       protowire.Number = 1
	verdictTo         protowire.Number = 2
	verdictLogTime    protowire.Number = 3
	verdictExceptions protowire.Number = 4
	verdictCounts     protowire.Number = 5
	verdictCounted    protowire.Number = 6

	exceptionOffset      protowire.Number = 1
	exceptionScore       protowire.Number = 2
	exceptionDuplicateOf protowire.Number = 3
	exceptionAlerts      protowire.Number = 4
	exceptionHits        protowire.Number = 5
	exceptionFirstAlerts protowire.Number = 6

	hitAlertID  protowire.Number = 1
	hitRaisedAt protowire.Number = 2
	hitHits     protowire.Number = 3
	hitAt       protowire.Number = 4

	alertID          protowire.Number = 1
	alertRuleID      protowire.Number = 2
	alertRuleVersion protowire.Number = 3
	alertRuleName    protowire.Number = 4
	alertSeverity    protowire.Number = 5
	alertMessage     protowire.Number = 6
	alertEventID     protowire.Number = 7
	alertRaisedAt    protowire.Number = 8
	alertValues      protowire.Number = 9
)

// AppendValue appends the value of the verdict's record to b: message Verdict of verdicts.proto.
func (v *Verdict) AppendValue(b []byte) []byte {
	b = appendUint(b, verdictFrom, uint64(v.From))
	b = appendUint(b, verdictTo, uint64(v.To))
	b = appendUint(b, verdictLogTime, uint64(v.LogTime))
	for i := range v.Exceptions {
		b = appendMessage(b, verdictExceptions, v.Exceptions[i].append)
	}
	for i := range v.Counts {
		b = appendMessage(b, verdictCounts, v.Counts[i].append)
	}
	return appendUint(b, verdictCounted, uint64(v.Counted))
}

func (x *Exception) append(b []byte) []byte {
	b = appendUint(b, exceptionOffset, uint64(x.Offset))
	b = appendUint(b, exceptionScore, uint64(x.Score))
	b = appendUint(b, exceptionDuplicateOf, uint64(x.DuplicateOf))
	b = appendUint(b, exceptionFirstAlerts, uint64(x.FirstAlerts))
	for i := range x.Alerts {
		b = appendMessage(b, exceptionAlerts, x.Alerts[i].AppendValue)
	}
	for i := range x.Hits {
		b = appendMessage(b, exceptionHits, x.Hits[i].append)
	}
	return b
}

func (h *Hit) append(b []byte) []byte {
	b = appendString(b, hitAlertID, h.AlertID)
	b = appendUint(b, hitRaisedAt, uint64(h.RaisedAt))
	b = appendUint(b, hitHits, uint64(h.Hits))
	return appendUint(b, hitAt, uint64(h.At))
}

// AppendValue appends message Alert of verdicts.proto to b.
func (a *Alert) AppendValue(b []byte) []byte {
	b = appendString(b, alertID, a.ID)
	b = appendString(b, alertRuleID, a.RuleID)
	b = appendUint(b, alertRuleVersion, uint64(a.RuleVersion))
	b = appendString(b, alertRuleName, a.RuleName)
	b = appendUint(b, alertSeverity, uint64(a.Severity))
	b = appendString(b, alertMessage, a.Message)
	b = appendUint(b, alertEventID, uint64(a.EventID))
	b = appendUint(b, alertRaisedAt, uint64(a.RaisedAt))
	return appendBytes(b, alertValues, a.Values)
}

// DecodeVerdict reads the value of a record of the verdicts topic. The verdict keeps no reference to b.
func DecodeVerdict(b []byte) (Verdict, error) {
	var v Verdict
	var inner error
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case verdictFrom:
			v.From = int64(f.uint)
		case verdictTo:
			v.To = int64(f.uint)
		case verdictLogTime:
			v.LogTime = Millis(f.uint)
		case verdictExceptions:
			x, err := decodeException(f.bytes)
			v.Exceptions = append(v.Exceptions, x)
			inner = errors.Join(inner, err)
		case verdictCounts:
			c, err := decodeRuleCounts(f.bytes)
			v.Counts = append(v.Counts, c)
			inner = errors.Join(inner, err)
		case verdictCounted:
			v.Counted = int64(f.uint)
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return Verdict{}, fmt.Errorf("decode verdict: %w", err)
	}
	return v, nil
}

func decodeException(b []byte) (Exception, error) {
	var x Exception
	var inner error
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case exceptionOffset:
			x.Offset = int64(f.uint)
		case exceptionScore:
			x.Score = int(f.uint)
		case exceptionDuplicateOf:
			x.DuplicateOf = int64(f.uint)
		case exceptionFirstAlerts:
			x.FirstAlerts = int(f.uint)
		case exceptionAlerts:
			a, err := DecodeAlert(f.bytes)
			x.Alerts = append(x.Alerts, a)
			inner = errors.Join(inner, err)
		case exceptionHits:
			h, err := decodeHit(f.bytes)
			x.Hits = append(x.Hits, h)
			inner = errors.Join(inner, err)
		}
	})
	return x, errors.Join(err, inner)
}

func decodeHit(b []byte) (Hit, error) {
	var h Hit
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case hitAlertID:
			h.AlertID = string(f.bytes)
		case hitRaisedAt:
			h.RaisedAt = Millis(f.uint)
		case hitHits:
			h.Hits = int64(f.uint)
		case hitAt:
			h.At = Millis(f.uint)
		}
	})
	return h, err
}

// DecodeAlert reads message Alert of verdicts.proto. The alert keeps no reference to b.
func DecodeAlert(b []byte) (Alert, error) {
	var a Alert
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case alertID:
			a.ID = string(f.bytes)
		case alertRuleID:
			a.RuleID = string(f.bytes)
		case alertRuleVersion:
			a.RuleVersion = int64(f.uint)
		case alertRuleName:
			a.RuleName = string(f.bytes)
		case alertSeverity:
			a.Severity = Severity(f.uint)
		case alertMessage:
			a.Message = string(f.bytes)
		case alertEventID:
			a.EventID = int64(f.uint)
		case alertRaisedAt:
			a.RaisedAt = Millis(f.uint)
		case alertValues:
			a.Values = append([]byte(nil), f.bytes...)
		}
	})
	if err != nil {
		return Alert{}, fmt.Errorf("decode alert: %w", err)
	}
	return a, nil
}
