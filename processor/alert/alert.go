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

// Config bounds what is remembered.
type Config struct {
	// Alerts is how many alerts a tracker remembers; beyond it the one raised first in log order goes, and the next hit of its
	// rule and key raises another. 0 means 1,000,000 (about 350 MB).
	Alerts int
}

const defaultAlerts = 1_000_000

// Tracker remembers the alerts that hits may still count on. One goroutine owns it: the partition's.
type Tracker struct {
	bound   int
	open    map[subject]*opened
	oldest  *opened // alerts are a list in the order in which they were raised
	newest  *opened
	raised  uint64 // alerts remembered so far: the number of the next
	dropped uint64

	changed map[subject]struct{} // since the last AppendChanges
	pass    *opened              // the next alert of its pass; nil: the pass is complete
	passEnd uint64               // the number of the first alert that the pass need not write
}

type subject struct {
	tenant schema.Tenant
	keyID  string
	ruleID string
}

type opened struct {
	subject  subject
	number   uint64 // in the order of the list
	id       string
	raisedAt schema.Millis
	hits     int64
	until    schema.Millis // by every version of the rule that has hit so far

	older, newer *opened
}

// NewTracker makes a tracker without alerts.
func NewTracker(c Config) *Tracker {
	if c.Alerts <= 0 {
		c.Alerts = defaultAlerts
	}
	return &Tracker{bound: c.Alerts, open: map[subject]*opened{}, changed: map[subject]struct{}{}}
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
		if a != nil {
			t.remove(a)
		}
		a = &opened{id: ID(o.Tenant, o.RuleID, o.Version, o.EventID), raisedAt: o.At}
		if dedup > 0 {
			t.keep(s, a)
		}
	}
	a.hits++
	a.until = max(a.until, a.raisedAt+dedup)
	return schema.Hit{AlertID: a.id, RaisedAt: a.raisedAt, Hits: a.hits, At: o.At}, a.hits == 1
}

// keep remembers an alert; those raised first make room. The subject's strings may alias a buffer, so it is cloned.
func (t *Tracker) keep(s subject, a *opened) {
	for len(t.open) >= t.bound {
		t.change(t.oldest)
		t.remove(t.oldest)
		t.dropped++
	}
	a.subject = subject{schema.Tenant(strings.Clone(string(s.tenant))), strings.Clone(s.keyID), strings.Clone(s.ruleID)}
	a.number = t.raised
	t.raised++
	t.add(a)
	t.change(a)
}

// add puts an alert at the end of the list.
func (t *Tracker) add(a *opened) {
	a.older, a.newer = t.newest, nil
	if t.newest == nil {
		t.oldest = a
	} else {
		t.newest.newer = a
	}
	t.newest = a
	t.open[a.subject] = a
}

func (t *Tracker) remove(a *opened) {
	if t.pass == a {
		t.pass = a.newer
	}
	if a.older == nil {
		t.oldest = a.newer
	} else {
		a.older.newer = a.newer
	}
	if a.newer == nil {
		t.newest = a.older
	} else {
		a.newer.older = a.older
	}
	delete(t.open, a.subject)
}

// change notes that what is known of a's subject is to be written.
func (t *Tracker) change(a *opened) { t.changed[a.subject] = struct{}{} }

// Forget drops the alerts that no hit can count on any more when every later event of the partition is at before or
// later. The caller calls it at points that are a function of the log, so that every replay forgets the same.
func (t *Tracker) Forget(before schema.Millis) {
	for a := t.oldest; a != nil; a = a.newer {
		if a.until <= before {
			t.change(a)
			t.remove(a)
		}
	}
}

// Len is the number of alerts remembered.
func (t *Tracker) Len() int { return len(t.open) }

// Dropped is how many alerts went while hits could still count on them, because there were too many.
func (t *Tracker) Dropped() uint64 { return t.dropped }

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
