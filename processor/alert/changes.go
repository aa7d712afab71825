package alert

import (
	"cmp"
	"fmt"
	"slices"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// The tracker's part of a checkpoint: what has changed since the last one and, in turn, some of what has not, so that all
// changes since the beginning, or all since the beginning of a complete pass, make the tracker again.

// minPass is how many alerts a call of AppendChanges looks at for its pass, at least.
const minPass = 1000

// AppendChanges appends what has changed since the last call and, in turn, as many of the other alerts. With begins a pass
// over all of them begins with this call; with passed it is complete.
func (t *Tracker) AppendChanges(b []byte, begins bool) (out []byte, passed bool) {
	b = varint.AppendUint(b, t.dropped)
	b = varint.AppendUint(b, t.raised)
	for _, s := range t.changedSubjects() {
		b = t.appendSubject(b, s)
	}
	if begins {
		t.pass, t.passEnd = t.oldest, t.raised
	}
	for n := 0; t.pass != nil && n < max(minPass, len(t.changed)); n++ {
		if t.pass.number >= t.passEnd { // raised since: written as a change
			t.pass = nil
			break
		}
		if _, written := t.changed[t.pass.subject]; !written {
			b = t.appendSubject(b, t.pass.subject)
		}
		t.pass = t.pass.newer
	}
	clear(t.changed)
	return varint.AppendBool(b, false), t.pass == nil
}

// changedSubjects are sorted, so that equal states make equal bytes.
func (t *Tracker) changedSubjects() []subject {
	subjects := make([]subject, 0, len(t.changed))
	for s := range t.changed {
		subjects = append(subjects, s)
	}
	slices.SortFunc(subjects, compareSubjects)
	return subjects
}

func compareSubjects(a, b subject) int {
	return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.keyID, b.keyID), cmp.Compare(a.ruleID, b.ruleID))
}

// appendSubject appends the alert of a subject, or that there is none.
func (t *Tracker) appendSubject(b []byte, s subject) []byte {
	b = varint.AppendBool(b, true)
	b = varint.AppendString(b, s.tenant)
	b = varint.AppendString(b, s.keyID)
	b = varint.AppendString(b, s.ruleID)
	a := t.open[s]
	b = varint.AppendBool(b, a != nil)
	if a == nil {
		return b
	}
	b = varint.AppendUint(b, a.number)
	b = varint.AppendString(b, a.id)
	b = varint.AppendInt(b, a.raisedAt)
	b = varint.AppendInt(b, a.hits)
	return varint.AppendInt(b, a.until)
}

// Restore takes in what AppendChanges wrote, in the order in which it was written; after the last comes [Tracker.Finish].
func (t *Tracker) Restore(r *varint.Reader) error {
	t.dropped, t.raised = r.Uint(), r.Uint()
	for r.Bool() {
		s := subject{schema.Tenant(r.String()), r.String(), r.String()}
		if !r.Bool() {
			delete(t.open, s)
			continue
		}
		a := &opened{
			subject: s, number: r.Uint(), id: r.String(),
			raisedAt: schema.Millis(r.Int()), hits: r.Int(), until: schema.Millis(r.Int()),
		}
		if r.Err() == nil {
			t.open[s] = a
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("restore alerts: %w", err)
	}
	return nil
}

// Finish puts what Restore brought into the order in which it was raised.
func (t *Tracker) Finish() {
	alerts := make([]*opened, 0, len(t.open))
	for _, a := range t.open {
		alerts = append(alerts, a)
	}
	slices.SortFunc(alerts, func(a, b *opened) int { return cmp.Compare(a.number, b.number) })
	t.oldest, t.newest, t.pass = nil, nil, nil
	clear(t.changed)
	for _, a := range alerts {
		t.add(a)
	}
}
