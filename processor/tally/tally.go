package tally

import (
	"strings"

	"keypulse/schema"
)

// Tally is the counts of the rules of one partition. One goroutine owns it: the partition's.
//
// It holds the counts of the versions that are in force; those of an older version can never change again, so they go as
// soon as they have been given out.
type Tally struct {
	tenants map[schema.Tenant]*Tenant
	order   []*count // all that are held
	total   int64    // of everything counted so far, also by versions that are not in force any more

	untold      []*count // what has changed since it was given out
	untoldBytes int

	changed []*count // since the last AppendChanges
	pass    int      // the next place of its pass over order
	passEnd int
}

// Tenant is the counts of a tenant's rules.
type Tenant struct {
	tally  *Tally
	name   schema.Tenant
	byRule map[string]*count
}

// count is the counts of one version of one rule.
type count struct {
	schema.RuleCounts
	told    schema.RuleCounts // when it was last given out
	place   int               // in order; -1: it is not held any more
	untold  bool
	changed bool
}

// New makes a tally that has counted nothing.
func New() *Tally { return &Tally{tenants: map[schema.Tenant]*Tenant{}} }

// Total is the sum of everything counted so far.
func (t *Tally) Total() int64 { return t.total }

// Tenant returns the counts of a tenant's rules; its name may alias a buffer.
func (t *Tally) Tenant(name schema.Tenant) *Tenant {
	of := t.tenants[name]
	if of == nil {
		name = schema.Tenant(strings.Clone(string(name)))
		of = &Tenant{tally: t, name: name, byRule: map[string]*count{}}
		t.tenants[name] = of
	}
	return of
}

// Keep forgets the rules of the tenant that are not in force any more.
func (t *Tenant) Keep(inForce func(ruleID string, version int64) bool) {
	for id, c := range t.byRule {
		if !inForce(id, c.Version) {
			t.tally.remove(c)
			delete(t.byRule, id)
		}
	}
}

// Hit counts a hit of a rule in live mode.
func (t *Tenant) Hit(ruleID string, version int64) { t.change(ruleID, version).Hits++ }

// Shadow counts a hit of a rule in shadow mode.
func (t *Tenant) Shadow(ruleID string, version int64) { t.change(ruleID, version).Shadow++ }

// Fail counts a rule that failed for an event: once, however many of its parts did.
func (t *Tenant) Fail(ruleID string, version int64, e schema.RuleError) (counted bool) {
	if c := t.byRule[ruleID]; c != nil && c.Version == version && c.Errors > 0 && c.LastError.EventID == e.EventID {
		return false
	}
	c := t.change(ruleID, version)
	c.Errors++
	t.tally.untoldBytes += len(e.Message) - len(c.LastError.Message)
	c.LastError = e
	return true
}

// change returns the counts of a rule, one of which the caller raises.
func (t *Tenant) change(ruleID string, version int64) *count {
	c := t.byRule[ruleID]
	if c == nil || c.Version != version {
		if c != nil {
			t.tally.remove(c)
		}
		c = t.tally.add(t, schema.RuleCounts{Tenant: t.name, RuleID: ruleID, Version: version})
	}
	t.tally.total++
	t.tally.owe(c)
	t.tally.note(c)
	return c
}

// owe has the next Take give a count out.
func (t *Tally) owe(c *count) {
	if !c.untold {
		c.untold = true
		t.untold = append(t.untold, c)
		t.untoldBytes += c.size()
	}
}

func (t *Tally) add(of *Tenant, c schema.RuleCounts) *count {
	added := &count{RuleCounts: c, told: c, place: len(t.order)}
	t.order = append(t.order, added)
	of.byRule[c.RuleID] = added
	return added
}

// remove takes a count out of order; the last one comes into its place, where the pass may have been already.
func (t *Tally) remove(c *count) {
	last := t.order[len(t.order)-1]
	t.order[c.place], last.place = last, c.place
	t.order = t.order[:len(t.order)-1]
	c.place = -1
	if last != c {
		t.note(last)
	}
}

// note has the next AppendChanges write a count.
func (t *Tally) note(c *count) {
	if !c.changed {
		c.changed = true
		t.changed = append(t.changed, c)
	}
}

// size is about what a count takes in a verdict.
func (c *count) size() int {
	return 48 + len(c.Tenant) + len(c.RuleID) + len(c.LastError.Message)
}

// UntoldBytes is about what Take would give now.
func (t *Tally) UntoldBytes() int { return t.untoldBytes }

// Take appends the counts that have changed since they were last taken to list, and stops at some bytes; all says that none is
// left. news, if it is not nil, is told of each what it was before.
func (t *Tally) Take(list []schema.RuleCounts, limit int, news func(before, now *schema.RuleCounts)) (taken []schema.RuleCounts, all bool) {
	n := 0
	for ; n < len(t.untold) && limit > 0; n++ {
		c := t.untold[n]
		limit -= c.size()
		t.untoldBytes -= c.size()
		if news != nil {
			news(&c.told, &c.RuleCounts)
		}
		list = append(list, c.RuleCounts)
		c.told, c.untold = c.RuleCounts, false
	}
	t.untold = t.untold[:copy(t.untold, t.untold[n:])]
	return list, len(t.untold) == 0
}
