package rules

import (
	"fmt"
	"time"

	"keypulse/schema"
)

// DefaultBudget bounds what all enabled rules of a tenant may take for one event, unless an installation says otherwise: ten rules that take
// [MaxTime] each, or some hundred ordinary ones that read details.
const DefaultBudget = 20 * time.Millisecond

// reach adds up the worst times of what one event may find in the index: what is found for every event, and for each indexed field
// the value for which the most is.
type reach map[field]map[string]time.Duration

func (r reach) add(n needs, worst time.Duration) {
	values := distinctStrings(n.values)
	if n.field == 0 {
		values = []string{""}
	}
	if r[n.field] == nil {
		r[n.field] = map[string]time.Duration{}
	}
	for _, value := range values {
		r[n.field][value] += worst
	}
}

func (r reach) time() (sum time.Duration) {
	for _, values := range r {
		most := time.Duration(0)
		for _, worst := range values {
			most = max(most, worst)
		}
		sum += most
	}
	return sum
}

// worstTime is what the programs that are enabled may take for one event. An aggregate that several have is kept, and paid
// for, once.
func worstTime(programs []*Program) time.Duration {
	found, known := reach{}, map[string]bool{}
	for _, p := range programs {
		if p == nil || !p.rule.Enabled {
			continue
		}
		own := p.meter.total
		for _, a := range p.tables.aggregates {
			own -= a.worst
			if !known[a.key] {
				known[a.key] = true
				found.add(a.needs, a.WorstTime())
			}
		}
		found.add(p.needs, time.Duration(max(own, 0)))
	}
	return found.time()
}

// WorstTime returns what the tenant's rules may take for one event as they are, and with p in the place of the rule with its id. Rules that
// no event can find together are not added up.
func (b *Book) WorstTime(tenant schema.Tenant, p *Program) (before, with time.Duration) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var now []*Program
	others := []*Program{p}
	if t := b.tenants[tenant]; t != nil {
		for id, v := range t.current {
			now = append(now, v.Program)
			if id != p.rule.ID {
				others = append(others, v.Program)
			}
		}
	}
	return worstTime(now), worstTime(others)
}

// FitsBudget returns [ErrLimit], wrapped, when the tenant's rules may take more than budget with p in the place of the rule with its
// id, and more than they take now. Only who changes rules asks: what the log has is in force, whatever the budget is today.
func (b *Book) FitsBudget(tenant schema.Tenant, p *Program, budget time.Duration) error {
	before, with := b.WorstTime(tenant, p)
	if with <= budget || with <= before {
		return nil
	}
	return fmt.Errorf("with it the tenant's rules may take %v for one event, at most %v is allowed, and it takes %v: shorten what rules read, "+
		"as details.note[:256] does, or have them look at fewer events, as event_type == \"export\" && … does: %w",
		rough(float64(with)), budget, rough(p.meter.total), ErrLimit)
}
