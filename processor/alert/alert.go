package alert

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"keypulse/schema"
)

// Occurrence is a live rule that holds for an event.
type Occurrence struct {
	Tenant  schema.Tenant
	KeyID   string
	RuleID  string
	Version int64         // of the rule
	Dedup   time.Duration // of that version; 0 = each hit raises an alert
	EventID int64
	At      schema.Millis // the event's effective time
}

// Tracker remembers the alerts that hits may still count on. One goroutine owns it: the partition's.
type Tracker struct {
	open    map[subject]*opened
	changed map[subject]struct{} // since the last AppendChanges
}

type subject struct {
	tenant schema.Tenant
	keyID  string
	ruleID string
}

type opened struct {
	subject  subject
	id       string
	raisedAt schema.Millis
	hits     int64
	until    schema.Millis // by every version of the rule that has hit so far
}

// NewTracker makes a tracker without alerts.
func NewTracker() *Tracker {
	return &Tracker{open: map[subject]*opened{}, changed: map[subject]struct{}{}}
}

// Hit decides about one occurrence. When it raises an alert, raised is true and hit is the alert's first; otherwise hit
// counts on the alert that is there.
func (t *Tracker) Hit(o Occurrence) (hit schema.Hit, raised bool) {
	s := subject{o.Tenant, o.KeyID, o.RuleID}
	dedup := schema.Millis(o.Dedup.Milliseconds())
	a := t.open[s]
	if a != nil {
		t.change(a)
	}
	if a == nil || o.At-a.raisedAt >= dedup {
		a = &opened{id: ID(o.Tenant, o.RuleID, o.Version, o.EventID), raisedAt: o.At}
		if dedup > 0 {
			t.keep(s, a)
		} else {
			delete(t.open, s)
		}
	}
	a.hits++
	a.until = max(a.until, a.raisedAt+dedup)
	return schema.Hit{AlertID: a.id, RaisedAt: a.raisedAt, Hits: a.hits, At: o.At}, a.hits == 1
}

// keep remembers an alert. The subject's strings may alias a buffer, so it is cloned.
func (t *Tracker) keep(s subject, a *opened) {
	a.subject = subject{schema.Tenant(strings.Clone(string(s.tenant))), strings.Clone(s.keyID), strings.Clone(s.ruleID)}
	t.open[a.subject] = a
	t.change(a)
}

// change notes that what is known of a's subject is to be written.
func (t *Tracker) change(a *opened) { t.changed[a.subject] = struct{}{} }

// Forget drops the alerts that no hit can count on any more when every later event of the partition is at before or
// later. The caller calls it at points that are a function of the log, so that every replay forgets the same.
func (t *Tracker) Forget(before schema.Millis) {
	for s, a := range t.open {
		if a.until <= before {
			t.change(a)
			delete(t.open, s)
		}
	}
}

// Len is the number of alerts remembered.
func (t *Tracker) Len() int { return len(t.open) }

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ID names the alert that an event raises: al_ and 24 characters of the SHA-256 over tenant, rule, version and event.
func ID(tenant schema.Tenant, ruleID string, version, eventID int64) string {
	b := make([]byte, 0, 128)
	b = append(b, tenant...)
	b = append(b, 0)
	b = append(b, ruleID...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(version))
	b = binary.BigEndian.AppendUint64(b, uint64(eventID))
	sum := sha256.Sum256(b)
	return "al_" + idEncoding.EncodeToString(sum[:15])
}
