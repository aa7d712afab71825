package trial

import (
	"bytes"
	"fmt"
	"strings"

	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

// maxTried bounds the events of [Try], which somebody waits for.
const maxTried = 1000

// Outcome is what a rule says to one event.
type Outcome struct {
	At    schema.Millis
	KeyID string
	Score int
	Holds bool
	Alert *schema.Alert // that the event raised; nil where it raised none
	Hits  int64         // of the alert that the event raised or counts on; 0 where the rule does not hold
}

// Try judges events, written as in a test, by one rule as if it were enabled and live. The error is [rules.Errors] where
// the events are wrong.
func Try(r rules.Rule, events []byte) ([]Outcome, error) {
	if len(bytes.TrimSpace(events)) == 0 {
		events = []byte("[]")
	}
	r.Tests = append(append([]byte(`[{"name":"a trial","alerts":0,"events":`), events...), "}]"...)
	tests, err := Of(r)
	if err != nil {
		return nil, ofEvents(err)
	}
	list := tests[0].events
	if len(list) > maxTried {
		return nil, rules.Errors{{Field: "events", Message: fmt.Sprintf("are more than %d", maxTried)}}
	}
	r.Tests, r.Enabled, r.Mode = nil, true, rules.Live
	book, err := bookOf([]rules.Rule{r})
	if err != nil {
		return nil, err
	}
	j := judge.New(judge.Config{Book: book})
	defer j.Close()
	outcomes := make([]Outcome, len(list))
	for i := range list {
		e := &list[i]
		e.Tenant, e.RulesRev = tenant, book.Rev()
		x, exceptional := j.Event(int64(i), e)
		o := Outcome{At: e.CreatedAt, KeyID: e.KeyID, Score: e.Severity.BaseScore()}
		if exceptional {
			o.Score = x.Score
		}
		for k := range x.Alerts {
			o.Holds, o.Alert, o.Hits = true, &x.Alerts[k], 1
		}
		for _, h := range x.Hits {
			o.Holds, o.Hits = true, h.Hits
		}
		outcomes[i] = o
	}
	if j.Counts().RuleErrors > 0 {
		return nil, errRule
	}
	return outcomes, nil
}

// ofEvents takes what the events were wrapped in out of the places of errors.
func ofEvents(err error) error {
	errs, ok := err.(rules.Errors) //nolint:errorlint // Of returns nothing else
	if !ok {
		return err
	}
	for i := range errs {
		if place, ok := strings.CutPrefix(errs[i].Field, "tests[0]."); ok {
			errs[i].Field = place
		} else {
			errs[i].Field = "events"
		}
	}
	return errs
}
