package query

import (
	"encoding/json"
	"errors"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/rules"
	"keypulse/schema"
)

// Outcome is what a rule says to one event of a trial.
type Outcome struct {
	At    schema.Millis
	KeyID string
	Score int
	Holds bool
	// Alert is what the event raised, nil for nothing; where the rule holds all the same, the event counts on an earlier
	// one, which then has Hits.
	Alert *schema.Alert
	Hits  int64
}

// tryRule is POST /api/rules/trial: what a rule, which need not exist, would say to some events. Nothing is kept.
func (q *Query) tryRule(c *fiber.Ctx) error {
	body, err := ruleBody(c)
	if err != nil {
		return err
	}
	var sent struct {
		Rule   jsontext.Value `json:"rule"`
		Events jsontext.Value `json:"events"`
	}
	if err := strict.Unmarshal(body, &sent, strict.RejectUnknownMembers(true)); err != nil {
		return httpapi.BadRequest(httpapi.CodeMalformedJSON, `The body must be {"rule": {…}, "events": […]}.`)
	}
	r, err := rules.ParseJSON(sent.Rule)
	if err != nil {
		return badRule(err)
	}
	if _, err := q.compile(c, r); err != nil {
		return err
	}
	outcomes, err := q.cfg.Trial(r, sent.Events)
	if err != nil {
		if errors.As(err, new(rules.Errors)) {
			return badRule(err)
		}
		return httpapi.Internal(err)
	}
	return answerTrial(c, outcomes)
}

// trialAlert is an alert of a trial: what a real one has, less what only real ones have.
type trialAlert struct {
	Severity string          `json:"severity"`
	Message  string          `json:"message"`
	Values   json.RawMessage `json:"values"`
}

type trialOutcome struct {
	At    schema.Millis `json:"at"`
	KeyID string        `json:"key_id"`
	Score int           `json:"score"`
	Holds bool          `json:"holds"`
	Hits  int64         `json:"hits"`
	Alert *trialAlert   `json:"alert"`
}

func answerTrial(c *fiber.Ctx, outcomes []Outcome) error {
	shown := make([]trialOutcome, len(outcomes))
	for i, o := range outcomes {
		shown[i] = trialOutcome{At: o.At, KeyID: o.KeyID, Score: o.Score, Holds: o.Holds, Hits: o.Hits}
		if a := o.Alert; a != nil {
			values := json.RawMessage(a.Values)
			if len(values) == 0 {
				values = json.RawMessage("{}")
			}
			shown[i].Alert = &trialAlert{Severity: a.Severity.String(), Message: a.Message, Values: values}
		}
	}
	return httpapi.JSON(c, fiber.StatusOK, struct {
		Success  bool           `json:"success"`
		Outcomes []trialOutcome `json:"outcomes"`
	}{true, shown})
}
