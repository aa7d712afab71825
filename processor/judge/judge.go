package judge

import (
	"strings"

	"keypulse/processor/alert"
	"keypulse/processor/dedup"
	"keypulse/processor/tally"
	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

// forgetEvery is how many events of a partition pass between two sweeps of old alerts.
const forgetEvery = 1 << 16

// forgetAfter is how far the partition's time may be ahead of the clock of one of its keys before that key's alerts
// may be forgotten early: an hour, as for windows.
const forgetAfter = schema.Millis(3_600_000)

// alertBytes is how much the messages and values of one event's alerts may take together, so that its verdict fits a record;
// alerts beyond it have their rule's name for a message and no values.
const alertBytes = 4 << 20

// Config says what a judge decides about.
type Config struct {
	Book          *rules.Book
	Base          int64 // of the log's incarnation
	Partition     int32
	KeysPerTenant int // that have windows; 0 means 1,000,000
}

// Judge decides about the events of one partition, in their order. One goroutine owns it.
type Judge struct {
	book      *rules.Book
	base      int64
	partition int32

	windows *window.Store
	alerts  *alert.Tracker
	seen    *dedup.Seen
	tally   *tally.Tally
	rev     int64                     // the largest rules_rev so far
	inForce map[schema.Tenant]inForce // at rev
	logTime schema.Millis             // the largest created_at so far

	counts     Counts
	room       int  // of alertBytes, for the event at hand
	passBegins bool // the next changes begin a pass over everything: see AppendChanges
}

// inForce is the rules of a tenant and their counts.
type inForce struct {
	set    *rules.Set
	counts *tally.Tenant
}

// Counts are what a judge has done so far, for metrics.
type Counts struct {
	Events, Duplicates, Alerts, Hits, ShadowHits, RuleErrors uint64
}

// New makes a judge that knows nothing. Whoever makes a judge closes it.
func New(c Config) *Judge {
	return &Judge{
		book: c.Book, base: c.Base, partition: c.Partition,
		windows:    window.New(window.Config{KeysPerTenant: c.KeysPerTenant, TrackChanges: true}),
		alerts:     alert.NewTracker(alert.Config{}),
		seen:       dedup.New(dedup.Config{}),
		tally:      tally.New(),
		inForce:    map[schema.Tenant]inForce{},
		passBegins: true,
	}
}

// Close gives back the memory of the windows. The judge may not be used any more.
func (j *Judge) Close() { j.windows.Close() }

// Pass takes note of an event that cannot be decoded: it has a time and a place, and nothing else.
func (j *Judge) Pass(createdAt schema.Millis) {
	j.logTime = max(j.logTime, createdAt)
	j.tick()
}

// Rev is the largest rules_rev so far.
func (j *Judge) Rev() int64 { return j.rev }

// LogTime is the largest created_at so far.
func (j *Judge) LogTime() schema.Millis { return j.logTime }

// Counts returns what the judge has done so far.
func (j *Judge) Counts() Counts { return j.counts }

// Keys is how many keys have windows.
func (j *Judge) Keys() int { return j.windows.Keys() }

// Reach is how far back in log time every event_id is remembered.
func (j *Judge) Reach() schema.Millis { return j.seen.Reach(j.logTime) }

// advance puts the rules of rev in force when it is above what was. The book has been read that far.
func (j *Judge) advance(rev int64) {
	if rev > j.rev {
		j.rev = rev
		clear(j.inForce)
	}
}

// rules returns what is in force for a tenant. Counts of older versions are forgotten when that has changed.
func (j *Judge) rules(tenant schema.Tenant) inForce {
	now, ok := j.inForce[tenant]
	if !ok {
		now = inForce{j.book.At(tenant, j.rev), j.tally.Tenant(tenant)}
		now.counts.Keep(func(id string, version int64) bool {
			p := now.set.Program(id)
			return p != nil && p.Version == version
		})
		j.inForce[schema.Tenant(strings.Clone(string(tenant)))] = now
	}
	return now
}

// Event judges the event at an offset, whose strings may alias a buffer: what is kept of them is cloned. An ordinary one (its severity's
// base score, no hit) is no exception. A duplicate updates no window and fires no rule. The book has been read up to the
// event's RulesRev.
func (j *Judge) Event(offset int64, e *schema.Event) (x schema.Exception, exceptional bool) {
	j.advance(e.RulesRev)
	j.logTime = max(j.logTime, e.CreatedAt)
	j.tick()
	if first, duplicate := j.seen.Event(e, offset, j.logTime); duplicate {
		j.counts.Duplicates++
		return schema.Exception{
			Offset: offset, Score: first.Score, FirstAlerts: first.Alerts,
			DuplicateOf: schema.EventID(j.base, first.Offset, j.partition),
		}, true
	}
	now := j.rules(e.Tenant)
	at, values := j.windows.Observe(now.set, e)
	x = schema.Exception{Offset: offset, Score: e.Severity.BaseScore()}
	j.room = alertBytes
	id := schema.EventID(j.base, offset, j.partition)
	now.set.Eval(e, values, func(p *rules.Program) {
		rule := p.Rule()
		if rule.Mode == rules.Shadow {
			j.counts.ShadowHits++
			now.counts.Shadow(rule.ID, p.Version)
			return
		}
		now.counts.Hit(rule.ID, p.Version)
		x.Score = min(x.Score+rule.Score, schema.MaxScore)
		j.hit(&x, p, id, at, e, values)
	})
	for _, f := range values.Failures() {
		if now.counts.Fail(f.Program.Rule().ID, f.Program.Version, schema.RuleError{EventID: id, At: e.CreatedAt, Message: f.Message}) {
			j.counts.RuleErrors++
		}
	}
	j.seen.Judged(len(x.Alerts), x.Score)
	return x, x.Score != e.Severity.BaseScore() || len(x.Alerts)+len(x.Hits) > 0
}

// UntoldBytes is about how much [Judge.Tell] would put into a verdict.
func (j *Judge) UntoldBytes() int { return j.tally.UntoldBytes() }

// Tell puts what has been counted since the last call into a verdict about events up to now, as far as it fits limit bytes: the
// rest comes with the next one. told, if it is not nil, sees each rule's counts as they were and as they are. The caller drops
// no verdict that it was told.
func (j *Judge) Tell(v *schema.Verdict, limit int, told func(before, now *schema.RuleCounts)) {
	var all bool
	if v.Counts, all = j.tally.Take(v.Counts[:0], limit, told); all {
		v.Counted = j.tally.Total()
	}
}

// Expect looks ahead for events that will be judged next, which makes that faster and changes nothing.
func (j *Judge) Expect(events []schema.Event) { j.windows.Expect(events) }

// tick counts an event and, at some counts, forgets old alerts.
func (j *Judge) tick() {
	j.counts.Events++
	if j.counts.Events%forgetEvery == 0 {
		j.alerts.Forget(j.logTime - forgetAfter)
	}
}

// hit records that a live rule holds: as an alert, or as a hit on one.
func (j *Judge) hit(x *schema.Exception, p *rules.Program, id int64, at schema.Millis, e *schema.Event, values rules.Values) {
	rule := p.Rule()
	hit, raised := j.alerts.Hit(alert.Occurrence{
		Tenant: e.Tenant, KeyID: e.KeyID, RuleID: rule.ID, Version: p.Version, Dedup: rule.Dedup, EventID: id, At: at,
	})
	if !raised {
		j.counts.Hits++
		x.Hits = append(x.Hits, hit)
		return
	}
	j.counts.Alerts++
	message, shown := p.Message(e, values), p.ValuesJSON(values)
	if j.room -= len(message) + len(shown); j.room < 0 {
		message, shown = rule.Name, []byte("{}")
	}
	x.Alerts = append(x.Alerts, schema.Alert{
		ID:          hit.AlertID,
		RuleID:      rule.ID,
		RuleVersion: p.Version,
		RuleName:    rule.Name,
		Severity:    rule.Severity,
		Message:     message,
		EventID:     id,
		RaisedAt:    hit.RaisedAt,
		Values:      shown,
	})
}
