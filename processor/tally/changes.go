package tally

import (
	"fmt"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// minPass is how many counts a call of AppendChanges writes of those that have not changed, at least.
const minPass = 1000

// AppendChanges appends what has changed since the last call and, in turn, as many of the other counts. With begins a pass over all
// of them begins with this call; with passed it is complete.
func (t *Tally) AppendChanges(b []byte, begins bool) (out []byte, passed bool) {
	b = varint.AppendInt(b, t.total)
	if begins { // what comes later is written when it comes
		t.pass, t.passEnd = 0, len(t.order)
	}
	for n := 0; n < max(minPass, len(t.changed)) && t.pass < min(t.passEnd, len(t.order)); n++ {
		if c := t.order[t.pass]; !c.changed {
			b = c.append(b)
		}
		t.pass++
	}
	for _, c := range t.untold {
		if c.place < 0 { // a rule that has changed since
			b = c.append(b)
		}
	}
	for _, c := range t.changed {
		if c.changed = false; c.place >= 0 {
			b = c.append(b)
		}
	}
	t.changed = t.changed[:0]
	return varint.AppendBool(b, false), t.pass >= min(t.passEnd, len(t.order))
}

func (c *count) append(b []byte) []byte {
	b = varint.AppendBool(b, true)
	b = varint.AppendString(b, c.Tenant)
	b = varint.AppendString(b, c.RuleID)
	b = varint.AppendInt(b, c.Version)
	b = varint.AppendInt(b, c.Hits)
	b = varint.AppendInt(b, c.Shadow)
	b = varint.AppendInt(b, c.Errors)
	b = varint.AppendInt(b, c.LastError.EventID)
	b = varint.AppendInt(b, c.LastError.At)
	b = varint.AppendString(b, c.LastError.Message)
	return varint.AppendBool(b, c.untold)
}

// Restore takes in what AppendChanges wrote, in the order in which it was written. What was given out in between may be given out
// again, which does no harm.
func (t *Tally) Restore(r *varint.Reader) error {
	t.total = r.Int()
	for r.Bool() {
		c := schema.RuleCounts{
			Tenant: schema.Tenant(r.String()), RuleID: r.String(), Version: r.Int(), Hits: r.Int(), Shadow: r.Int(), Errors: r.Int(),
			LastError: schema.RuleError{EventID: r.Int(), At: schema.Millis(r.Int()), Message: r.String()},
		}
		untold := r.Bool()
		if r.Err() != nil {
			break
		}
		if restored := t.restore(c); untold {
			t.owe(restored)
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("restore rules' counts: %w", err)
	}
	return nil
}

// restore puts a count in the place of what is known of its rule, unless that is of a later version.
func (t *Tally) restore(c schema.RuleCounts) *count {
	of := t.Tenant(c.Tenant)
	known := of.byRule[c.RuleID]
	switch {
	case known == nil:
		return t.add(of, c)
	case known.Version > c.Version:
		return &count{RuleCounts: c, told: c, place: -1}
	case known.Version < c.Version:
		t.remove(known)
		return t.add(of, c)
	}
	if known.untold {
		t.untoldBytes += len(c.LastError.Message) - len(known.LastError.Message)
	}
	known.RuleCounts, known.told = c, c
	return known
}
