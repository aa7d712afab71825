package judge

import (
	"keypulse/internal/varint"
	"keypulse/schema"
)

// ChangedBytes estimates how much [Judge.AppendChanges] would append now; 0: no event since the last call.
func (j *Judge) ChangedBytes() int { return j.windows.ChangedBytes() }

// AppendChanges appends what the judge has changed since the last call, and some of what it has not; passed says that with
// it everything has been written since the last time that it said so.
func (j *Judge) AppendChanges(b []byte) (body []byte, passed bool) {
	b = varint.AppendInt(b, j.rev)
	b = varint.AppendInt(b, j.logTime)
	b = varint.AppendUint(b, j.counts.Events)
	b, alertsPassed := j.alerts.AppendChanges(b, j.passBegins)
	b, seenPassed := j.seen.AppendChanges(b, j.passBegins)
	b, windowsPassed := j.windows.AppendChanges(b)
	j.passBegins = windowsPassed && seenPassed && alertsPassed
	return b, j.passBegins
}

// ApplyChanges takes in what AppendChanges wrote, in the same order; [Judge.FinishChanges] ends it.
func (j *Judge) ApplyChanges(body []byte) error {
	r := varint.NewReader(body)
	j.rev, j.logTime, j.counts.Events = r.Int(), schema.Millis(r.Int()), r.Uint()
	if err := j.alerts.Restore(r); err != nil {
		return err
	}
	if err := j.seen.Restore(r); err != nil {
		return err
	}
	return j.windows.ApplyChanges(r.Rest())
}

// FinishChanges says that all changes were applied: what they did not name is forgotten.
func (j *Judge) FinishChanges() {
	j.alerts.Finish()
	j.windows.FinishChanges()
	j.seen.Finish()
}
