package query

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/rules"
	"keypulse/schema"
)

// The values of `code` in this file's failures.
const (
	codeRuleLimit      = "rule_limit"
	codeOutcomeUnknown = "outcome_unknown"
)

var errNoRule = httpapi.NotFound("There is no rule with this id.")

// listRules is GET /api/rules: all of the tenant's, by id. They are in memory and at most rules.MaxRules.
func (q *Query) listRules(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	out := newPage(0, "rules", 0)
	own := q.shelf(httpapi.IdentityOf(c).Tenant)
	list := own.rules()
	counts := q.countsOf(c, list...)
	for _, v := range list {
		members, err := q.ruleMembers(own, v, counts)
		if err != nil {
			return err
		}
		out.add(place{}, func(b []byte) []byte { return append(append(append(b, '{'), members...), '}') })
	}
	return out.send(c)
}

// showRule is GET /api/rules/{id}.
func (q *Query) showRule(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	v, ok := q.rule(c)
	if !ok {
		return errNoRule
	}
	return q.answerRule(c, fiber.StatusOK, v, q.countsOf(c, v))
}

// createRule is POST /api/rules. An id whose rule was deleted may be used again; its versions go on.
func (q *Query) createRule(c *fiber.Ctx) error {
	r, err := readRule(c)
	if err != nil {
		return err
	}
	program, err := q.compile(c, r)
	if err != nil {
		return err
	}
	last, ok := q.shelf(httpapi.IdentityOf(c).Tenant).last(r.ID)
	if ok && !last.Deleted {
		return conflict(last, fmt.Sprintf("The rule %q exists already: use PUT to change it.", r.ID))
	}
	v, err := q.writeRule(c, program.Rule(), last.Version+1)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/rules/"+r.ID)
	return q.answerRule(c, fiber.StatusCreated, v, ruleCounts{})
}

// replaceRule is PUT /api/rules/{id}. The body's version is the one that it replaces, so that nobody undoes unseen what
// somebody else has just done.
func (q *Query) replaceRule(c *fiber.Ctx) error {
	last, ok := q.rule(c)
	if !ok {
		return errNoRule
	}
	r, replaced, err := readReplacement(c, last.Rule.ID)
	if err != nil {
		return err
	}
	program, err := q.compile(c, r)
	if err != nil {
		return err
	}
	if replaced != last.Version {
		return conflict(last, fmt.Sprintf("The rule is at version %d, not %d: read it again.", last.Version, replaced))
	}
	v, err := q.writeRule(c, program.Rule(), last.Version+1)
	if err != nil {
		return err
	}
	return q.answerRule(c, fiber.StatusOK, v, ruleCounts{}) // a new version has counted nothing
}

// deleteRule is DELETE /api/rules/{id}.
func (q *Query) deleteRule(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	last, ok := q.rule(c)
	if !ok {
		return errNoRule
	}
	identity := httpapi.IdentityOf(c)
	_, err := q.appendRule(c, schema.RuleRecord{
		Tenant: identity.Tenant.Name(), ID: last.Rule.ID, Version: last.Version + 1, Deleted: true,
		By: identity.KeyID, At: schema.MillisOf(q.cfg.Now()),
	})
	if err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// validateRule is POST /api/rules/validate: what createRule would say, and what the rule costs.
func (q *Query) validateRule(c *fiber.Ctx) error {
	r, err := readRule(c)
	if err != nil {
		return err
	}
	program, err := q.compile(c, r)
	if err != nil {
		return err
	}
	return q.answerCost(c, program)
}

// rule returns the current version of the rule that the path names.
func (q *Query) rule(c *fiber.Ctx) (rules.Version, bool) {
	v, ok := q.shelf(httpapi.IdentityOf(c).Tenant).last(strings.Clone(c.Params("id")))
	return v, ok && !v.Deleted
}

// compile says what is wrong with a rule, the tenant's limits included.
func (q *Query) compile(c *fiber.Ctx, r rules.Rule) (*rules.Program, error) {
	program, err := rules.Compile(r)
	if err != nil {
		return nil, badRule(err)
	}
	if err := q.shelf(httpapi.IdentityOf(c).Tenant).fits(program, q.cfg.RuleBudget); err != nil {
		return nil, httpapi.BadRequest(codeRuleLimit, fmt.Sprintf("This rule is one too many: %v.", err))
	}
	return program, nil
}

// writeRule makes r the version of its rule.
func (q *Query) writeRule(c *fiber.Ctx, r rules.Rule, version int64) (rules.Version, error) {
	identity := httpapi.IdentityOf(c)
	rec, err := rules.Record(identity.Tenant.Name(), r, version, identity.KeyID, schema.MillisOf(q.cfg.Now()))
	if err != nil {
		return rules.Version{}, err
	}
	return q.appendRule(c, rec)
}

// appendRule writes a record to the log, waits until this node has read it back, and looks whether it is the one that
// counts: of two records that make the same version the first in the log does. When yet another version has followed
// by then, nobody can tell, and the answer is 409, too: the writer has to look in either case.
//
// What is under way when the time is up may be in the log: 503, and the writer has to look.
func (q *Query) appendRule(c *fiber.Ctx, rec schema.RuleRecord) (rules.Version, error) {
	// A write that has begun is not given up because nobody waits for its answer.
	j := q.newJob(httpapi.IdentityOf(c).Tenant, httpapi.RequestID(c), q.cfg.StatementTimeout)
	defer j.end()
	offset, err := q.cfg.AppendRule(j.ctx, rec)
	if err == nil {
		err = q.cfg.Book.Wait(j.ctx, offset+1)
	}
	if err != nil {
		cause := fmt.Errorf("write rule %s: %w", rec.ID, err)
		return rules.Version{}, unavailable(codeOutcomeUnknown, "The change may or may not have been made: read the rule and try again.", cause)
	}
	v, _ := q.shelf(j.tenant).last(rec.ID)
	if v.Offset != offset {
		return v, conflict(v, "Somebody else has changed the rule at the same time: read it again.")
	}
	return v, nil
}

// conflict is the 409 that names the version in force.
func conflict(v rules.Version, message string) error {
	e := httpapi.Conflict(message)
	e.Extra = map[string]any{"current_version": v.Version}
	return e
}

// badRule is the 400 for a rule: `errors` has a field, a message and, within an expression, a line, a column and a
// snippet with a caret.
func badRule(err error) error {
	var errs rules.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		return httpapi.Internal(err)
	}
	message := errs[0].Message
	code := httpapi.CodeMalformedJSON
	if errs[0].Field != "" {
		message = errs[0].Field + ": " + message
		code = httpapi.CodeInvalidField
	}
	if len(errs) > 1 {
		message += fmt.Sprintf(" (and %d more)", len(errs)-1)
	}
	e := httpapi.BadRequest(code, message)
	e.Extra = map[string]any{"errors": errs}
	return e
}
