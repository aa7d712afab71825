package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/rules"
)

// answerRule answers with one version of a rule and what it has counted.
func (q *Query) answerRule(c *fiber.Ctx, status int, v rules.Version, counts ruleCounts) error {
	members, err := q.ruleMembers(q.shelf(httpapi.IdentityOf(c).Tenant), v, counts)
	if err != nil {
		return err
	}
	return httpapi.Raw(c, status, append(append([]byte(`{"success":true,`), members...), '}'))
}

// ruleMembers writes a version's members, without braces: the rule's own, then those of the version.
func (q *Query) ruleMembers(own shelf, v rules.Version, counts ruleCounts) ([]byte, error) {
	b, err := plainRule(v.Rule)
	if err != nil {
		return nil, err
	}
	b = b[1 : len(b)-1]
	b = strconv.AppendInt(append(b, `,"version":`...), v.Version, 10)
	b = answer.AppendTime(append(b, `,"created_at":`...), v.At)
	b = answer.AppendString(append(b, `,"by":`...), v.By)
	b = strconv.AppendInt(append(b, `,"worst_bytes":`...), int64(v.Program.WorstBytes()), 10)
	b = strconv.AppendFloat(append(b, `,"worst_micros":`...), micros(v.Program.WorstTime()), 'f', -1, 64)
	b = append(b, `,"complete_from":`...)
	if at, ok := own.completeFrom(v.Program, q.cfg.RuleDelay); ok {
		b = answer.AppendTime(b, at)
	} else {
		b = append(b, "null"...)
	}
	return counts.appendTo(b, v.Rule.ID), nil
}

// plainRule writes a rule as JSON with no more escapes than it needs, so that && in a condition stays readable.
func plainRule(r rules.Rule) ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode rule %s: %w", r.ID, err)
	}
	b, err := jsontext.AppendFormat(nil, raw)
	if err != nil {
		return nil, fmt.Errorf("encode rule %s: %w", r.ID, err)
	}
	return bytes.TrimSpace(b), nil
}

// cost is the answer of POST /api/rules/validate.
type cost struct {
	Success    bool            `json:"success"`
	Rule       json.RawMessage `json:"rule"` // with the defaults
	Aggregates []aggregateCost `json:"aggregates"`
	WorstBytes int             `json:"worst_bytes"` // for one key, when no other rule shares an aggregate
	// WorstMicros is what the rule takes for one event in the worst case; it may be up to MaxMicros.
	WorstMicros float64 `json:"worst_micros"`
	MaxMicros   float64 `json:"max_micros"`
	// TenantMicros is what all of the tenant's rules take for one event in the worst case, with this one; it may be up to
	// TenantMaxMicros.
	TenantMicros    float64 `json:"tenant_micros"`
	TenantMaxMicros float64 `json:"tenant_max_micros"`
}

type aggregateCost struct {
	Text          string  `json:"text"` // in canonical spelling
	WindowSeconds float64 `json:"window_seconds"`
	WorstBytes    int     `json:"worst_bytes"`
	WorstMicros   float64 `json:"worst_micros"`
}

func (q *Query) answerCost(c *fiber.Ctx, program *rules.Program) error {
	rule, err := plainRule(program.Rule())
	if err != nil {
		return err
	}
	all := make([]aggregateCost, 0, len(program.Aggregates()))
	for _, a := range program.Aggregates() {
		all = append(all, aggregateCost{Text: a.Text, WindowSeconds: a.Window.Seconds(), WorstBytes: a.WorstBytes(), WorstMicros: micros(a.WorstTime())})
	}
	return httpapi.JSON(c, fiber.StatusOK, cost{
		Success: true, Rule: rule, Aggregates: all, WorstBytes: program.WorstBytes(),
		WorstMicros: micros(program.WorstTime()), MaxMicros: micros(rules.MaxTime),
		TenantMicros: micros(q.shelf(httpapi.IdentityOf(c).Tenant).worstTime(program)), TenantMaxMicros: micros(q.cfg.RuleBudget),
	})
}

// micros is a time in microseconds, to a tenth.
func micros(d time.Duration) float64 {
	return float64(d.Round(100*time.Nanosecond)) / float64(time.Microsecond)
}
