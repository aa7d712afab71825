package judge

import (
	"fmt"

	"keypulse/internal/varint"
	"keypulse/schema"
)

// format is what changes look like: they begin with it, as a negative number. The first format had no number and no counts of
// rules, and began with rules_rev, which never is negative; it is still read, so that an upgrade goes on from the checkpoint
// that it finds.
const format = 2

// ChangedBytes estimates how much [Judge.AppendChanges] would append now; 0: no event since the last call.
func (j *Judge) ChangedBytes() int { return j.windows.ChangedBytes() }

// AppendChanges appends what the judge has changed since the last call, and some of what it has not; passed says that with
// it everything has been written since the last time that it said so.
func (j *Judge) AppendChanges(b []byte) (body []byte, passed bool) {
	b = varint.AppendInt(b, -format)
	b = varint.AppendInt(b, j.rev)
	b = varint.AppendInt(b, j.logTime)
	b = varint.AppendUint(b, j.counts.Events)
	b, alertsPassed := j.alerts.AppendChanges(b, j.passBegins)
	b, seenPassed := j.seen.AppendChanges(b, j.passBegins)
	b, tallyPassed := j.tally.AppendChanges(b, j.passBegins)
	b, windowsPassed := j.windows.AppendChanges(b)
	j.passBegins = windowsPassed && tallyPassed && seenPassed && alertsPassed
	return b, j.passBegins
}

// ApplyChanges takes in what AppendChanges wrote, in the same order; [Judge.FinishChanges] ends it.
func (j *Judge) ApplyChanges(body []byte) error {
	r := varint.NewReader(body)
	written, rev := 1, r.Int()
	if rev < 0 {
		written, rev = int(-rev), r.Int()
	}
	if written > format {
		return fmt.Errorf("restore state: it has format %d, this version of KeyPulse reads up to %d", written, format)
	}
	j.rev, j.logTime, j.counts.Events = rev, schema.Millis(r.Int()), r.Uint()
	if err := j.alerts.Restore(r); err != nil {
		return err
	}
	if err := j.seen.Restore(r); err != nil {
		return err
	}
	if written > 1 {
		if err := j.tally.Restore(r); err != nil {
			return err
		}
	}
	return j.windows.ApplyChanges(r.Rest())
}

// FinishChanges says that all changes were applied: what they did not name is forgotten.
func (j *Judge) FinishChanges() {
	j.alerts.Finish()
	j.windows.FinishChanges()
	j.seen.Finish()
}
