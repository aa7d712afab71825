package trial

import (
	"encoding/json"
	"errors"
	"fmt"

	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

// Alert is an alert that was raised, after all events.
type Alert struct {
	RuleID   string
	KeyID    string
	At       schema.Millis // the effective time of the event that raised it
	Severity schema.Severity
	Message  string
	Hits     int64 // the first one included
	Score    int   // of the event that raised it
}

// tenant is whose events and rules they are; it stands in nothing that a trial returns.
const tenant schema.Tenant = "trial"

// errRule says that a rule failed on an event, which none must.
var errRule = errors.New("a rule failed at run time; this is a bug of KeyPulse")

// Run judges the events, in their order, by the rules, and returns the alerts in the order in which they were raised.
// Tenant and RulesRev of the events are set. What a rule's enabled and mode say holds.
func Run(list []rules.Rule, events []schema.Event) ([]Alert, error) {
	book, err := bookOf(list)
	if err != nil {
		return nil, err
	}
	j := judge.New(judge.Config{Book: book})
	defer j.Close()
	var alerts []Alert
	byID := map[string]int{}
	for i := range events {
		e := &events[i]
		e.Tenant, e.RulesRev = tenant, book.Rev()
		x, _ := j.Event(int64(i), e)
		for _, a := range x.Alerts {
			byID[a.ID] = len(alerts)
			alerts = append(alerts, Alert{
				RuleID: a.RuleID, KeyID: e.KeyID, At: a.RaisedAt, Severity: a.Severity, Message: a.Message, Hits: 1, Score: x.Score,
			})
		}
		for _, h := range x.Hits {
			alerts[byID[h.AlertID]].Hits = h.Hits
		}
	}
	if j.Counts().RuleErrors > 0 {
		return nil, errRule
	}
	return alerts, nil
}

// bookOf makes a book of the rules as the rules topic would, limits included.
func bookOf(list []rules.Rule) (*rules.Book, error) {
	book := rules.NewBook()
	for i, r := range list {
		record, err := rules.Record(tenant, r, 1, "a test", 0)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(record)
		if err != nil {
			return nil, fmt.Errorf("encode rule %s: %w", r.ID, err)
		}
		if err := book.Apply(int64(i), schema.RecordKey(tenant, r.ID), value); err != nil {
			return nil, err
		}
	}
	return book, nil
}
