package alert

import (
	"cmp"
	"fmt"
	"slices"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// The tracker's part of a checkpoint: what has changed since the last one, so that all changes since the beginning, or all
// since one with everything, make the tracker again.

// AppendChanges appends what has changed since the last call, or all of it.
func (t *Tracker) AppendChanges(b []byte, all bool) []byte {
	changed := t.changed
	if all {
		changed = make(map[subject]struct{}, len(t.open))
		for s := range t.open {
			changed[s] = struct{}{}
		}
	}
	subjects := make([]subject, 0, len(changed))
	for s := range changed {
		subjects = append(subjects, s)
	}
	slices.SortFunc(subjects, compareSubjects) // equal states make equal bytes
	b = varint.AppendBool(b, all)
	b = varint.AppendUint(b, uint32(len(subjects)))
	for _, s := range subjects {
		b = varint.AppendString(b, s.tenant)
		b = varint.AppendString(b, s.keyID)
		b = varint.AppendString(b, s.ruleID)
		a := t.open[s]
		b = varint.AppendBool(b, a != nil)
		if a != nil {
			b = varint.AppendString(b, a.id)
			b = varint.AppendInt(b, a.raisedAt)
			b = varint.AppendInt(b, a.hits)
			b = varint.AppendInt(b, a.until)
		}
	}
	clear(t.changed)
	return b
}

func compareSubjects(a, b subject) int {
	return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.keyID, b.keyID), cmp.Compare(a.ruleID, b.ruleID))
}

// Restore applies what AppendChanges wrote; changes are restored in the order in which they were written.
func (t *Tracker) Restore(r *varint.Reader) error {
	if all := r.Bool(); all {
		clear(t.open)
	}
	for range r.Count(4) {
		s := subject{schema.Tenant(r.String()), r.String(), r.String()}
		if !r.Bool() {
			delete(t.open, s)
			continue
		}
		a := &opened{id: r.String(), raisedAt: schema.Millis(r.Int()), hits: r.Int(), until: schema.Millis(r.Int())}
		if r.Err() == nil {
			a.subject = s
			t.open[s] = a
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("restore alerts: %w", err)
	}
	return nil
}
