package rules

import (
	"time"

	"keypulse/schema"
)

// kept is an aggregate whose windows are kept, because enabled rules have it.
type kept struct {
	rules int           // how many have it
	since schema.Millis // without a break, whichever rules and versions they were
}

// keep notes that at a time one program of a rule, or none, comes in the place of another.
func (t *tenantBook) keep(next, last *Program, at schema.Millis) {
	// What comes is counted before what goes: an aggregate that both have lives on.
	for _, a := range next.enabledAggregates() {
		k := t.kept[a.key]
		if k == nil {
			k = &kept{since: at}
			t.kept[a.key] = k
		}
		k.rules++
	}
	for _, a := range last.enabledAggregates() {
		k := t.kept[a.key]
		if k.rules--; k.rules == 0 {
			delete(t.kept, a.key)
		}
	}
}

// enabledAggregates are the aggregates that the program keeps windows of; none for nil.
func (p *Program) enabledAggregates() []*Aggregate {
	if p == nil || !p.rule.Enabled {
		return nil
	}
	return p.tables.aggregates
}

// CompleteFrom returns the time from which every aggregate of a tenant's rule in force says what it would say had the rule always
// been there; delay is how long after its acceptance a version judges events. An aggregate that an older version or
// another rule has kept lives on, so it is complete as soon as theirs. since_last looks back 400 days. It is false for a rule
// that keeps no aggregate: there is none, or the rule is switched off.
func (b *Book) CompleteFrom(tenant schema.Tenant, p *Program, delay time.Duration) (at schema.Millis, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.tenants[tenant]
	if t == nil {
		return 0, false
	}
	for _, a := range p.enabledAggregates() {
		k := t.kept[a.key]
		if k == nil { // the rule is not in force any more
			return 0, false
		}
		at, ok = max(at, k.since+schema.Millis((delay+a.span())/time.Millisecond)), true
	}
	return at, ok
}

// span is how far back the aggregate looks.
func (a *Aggregate) span() time.Duration {
	if a.Call == SinceLast {
		return SinceLastSpan
	}
	return a.Window
}
