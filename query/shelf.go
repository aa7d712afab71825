package query

import (
	"time"

	"keypulse/internal/auth"
	"keypulse/rules"
	"keypulse/schema"
)

// shelf is one tenant's part of the rule book, and all of the book that handlers see.
type shelf struct {
	book   *rules.Book
	tenant schema.Tenant
}

func (q *Query) shelf(tenant auth.Tenant) shelf { return shelf{q.cfg.Book, tenant.Name()} }

// rules returns the rules by id.
func (s shelf) rules() []rules.Version { return s.book.Rules(s.tenant) }

// last returns the last version of a rule, which may be its end; false where there was never one.
func (s shelf) last(id string) (rules.Version, bool) { return s.book.Rule(s.tenant, id) }

// fits says why the tenant may not have this rule, too.
func (s shelf) fits(p *rules.Program, budget time.Duration) error {
	if err := s.book.Fits(s.tenant, p); err != nil {
		return err
	}
	return s.book.FitsBudget(s.tenant, p, budget)
}

// worstTime is what the tenant's rules may take for one event, this one included.
func (s shelf) worstTime(p *rules.Program) time.Duration {
	_, with := s.book.WorstTime(s.tenant, p)
	return with
}

// completeFrom is when a rule's windows hold all that they speak of.
func (s shelf) completeFrom(p *rules.Program, delay time.Duration) (schema.Millis, bool) {
	return s.book.CompleteFrom(s.tenant, p, delay)
}
