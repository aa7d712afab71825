package rules

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"keypulse/schema"
)

// Mode says whether a rule raises alerts.
type Mode string

// The modes. Shadow evaluates and counts, and raises nothing.
const (
	Live   Mode = "live"
	Shadow Mode = "shadow"
)

// The limits of a rule's fields.
const (
	MaxName     = 200             // characters
	MaxMessage  = 1000            // characters, as written
	MaxRendered = 4000            // bytes of a rendered message
	MaxScore    = schema.MaxScore // of one rule and of an event
	MaxDedup    = 400 * day
)

const defaultDedup = 15 * time.Minute

// Rule is a rule as its author wrote it, with the defaults filled in.
type Rule struct {
	ID       string // [a-z0-9-]{1,64}, unique in the tenant
	Name     string
	When     string          // the condition: a boolean expression
	Severity schema.Severity // of the alert
	Score    int             // 0..100, added to the event's score when When holds
	Dedup    time.Duration   // one alert for a key in this time; 0 = an alert for each hit
	Message  string          // of the alert; {{ }} holds an expression
	Enabled  bool
	Mode     Mode
	Tests    json.RawMessage // the rule's own tests as they were written; nil = none
}

// wireRule is a rule in JSON.
type wireRule struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	When     string          `json:"when"`
	Severity string          `json:"severity"`
	Score    int             `json:"score"`
	Dedup    string          `json:"dedup"`
	Message  string          `json:"message"`
	Enabled  bool            `json:"enabled"`
	Mode     Mode            `json:"mode"`
	Tests    json.RawMessage `json:"tests,omitempty"`
}

// MarshalJSON writes the rule as [ParseJSON] reads it, the dedup the short way ("15m").
func (r Rule) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireRule{
		ID: r.ID, Name: r.Name, When: r.When, Severity: r.Severity.String(), Score: r.Score,
		Dedup: FormatDuration(r.Dedup), Message: r.Message, Enabled: r.Enabled, Mode: r.Mode, Tests: r.Tests,
	})
}

// UnmarshalJSON is [ParseJSON].
func (r *Rule) UnmarshalJSON(data []byte) error {
	parsed, err := ParseJSON(data)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

var idPattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// check returns what is wrong with the fields themselves; the expressions are [Compile]'s business.
func (r *Rule) check() Errors {
	var errs Errors
	refuse := func(bad bool, field, format string, args ...any) {
		if bad {
			errs = append(errs, fieldError(field, format, args...))
		}
	}
	refuse(!idPattern.MatchString(r.ID), "id", "must be 1 to 64 of a-z, 0-9 and '-'")
	refuse(r.Name == "" || utf8.RuneCountInString(r.Name) > MaxName, "name", "must have 1 to %d characters", MaxName)
	refuse(r.When == "", "when", "is missing: a boolean expression over the event")
	refuse(r.Severity < schema.Nominal || r.Severity > schema.Critical, "severity", "must be nominal, warning or critical")
	refuse(r.Score < 0 || r.Score > MaxScore, "score", "must be an integer from 0 to %d", MaxScore)
	refuse(r.Dedup < 0 || r.Dedup > MaxDedup, "dedup", "must be a duration from 0s to %s", "400d")
	refuse(utf8.RuneCountInString(r.Message) > MaxMessage, "message", "must have at most %d characters", MaxMessage)
	refuse(r.Mode != Live && r.Mode != Shadow, "mode", "must be live or shadow")
	for _, f := range []struct{ name, text string }{{"name", r.Name}, {"when", r.When}, {"message", r.Message}} {
		refuse(!utf8.ValidString(f.text), f.name, "is not UTF-8")
	}
	return errs
}

// String names the rule in messages.
func (r Rule) String() string { return fmt.Sprintf("rule %s", r.ID) }
