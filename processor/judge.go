package processor

import (
	"strings"

	"keypulse/processor/alert"
	"keypulse/processor/dedup"
	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

// forgetEvery is how many events of a partition pass between two sweeps of old alerts.
const forgetEvery = 1 << 16

// forgetAfter is how far the partition's time may be ahead of the clock of one of its keys before that key's alerts
// may be forgotten early: an hour, as for windows.
const forgetAfter = schema.Millis(3_600_000)

// judge decides about the events of one partition, in their order. It is pure: the same events and rules make the same
// exceptions. One goroutine owns it.
type judge struct {
	book      *rules.Book
	base      int64 // of the log's incarnation
	partition int32

	windows *window.Store
	alerts  *alert.Tracker
	seen    *dedup.Seen
	rev     int64                        // the largest rules_rev so far
	sets    map[schema.Tenant]*rules.Set // in force at rev
	logTime schema.Millis                // the largest created_at so far

	counts     counts
	passBegins bool // the next changes begin a pass over everything: see appendChanges
}

// counts are what the judge has done, for metrics.
type counts struct {
	events, duplicates, alerts, hits, shadowHits, ruleErrors uint64
}

func newJudge(book *rules.Book, base int64, partition int32, keysPerTenant int) *judge {
	return &judge{
		book: book, base: base, partition: partition,
		windows:    window.New(window.Config{KeysPerTenant: keysPerTenant, TrackChanges: true}),
		alerts:     alert.NewTracker(),
		seen:       dedup.New(dedup.Config{}),
		sets:       map[schema.Tenant]*rules.Set{},
		passBegins: true,
	}
}

// advance puts the rules of rev in force when it is above what was. The book has been read that far.
func (j *judge) advance(rev int64) {
	if rev > j.rev {
		j.rev = rev
		clear(j.sets)
	}
}

func (j *judge) set(tenant schema.Tenant) *rules.Set {
	set := j.sets[tenant]
	if set == nil {
		set = j.book.At(tenant, j.rev)
		j.sets[schema.Tenant(strings.Clone(string(tenant)))] = set
	}
	return set
}

// event judges one event, whose strings may alias a buffer: what is kept of them is cloned. An ordinary one (its severity's
// base score, no hit) is no exception. A duplicate updates no window and fires no rule.
func (j *judge) event(offset int64, e *schema.Event) (x schema.Exception, exceptional bool) {
	j.advance(e.RulesRev)
	j.logTime = max(j.logTime, e.CreatedAt)
	j.tick()
	if first, duplicate := j.seen.Event(e, offset, j.logTime); duplicate {
		j.counts.duplicates++
		return schema.Exception{
			Offset: offset, Score: first.Score, FirstAlerts: first.Alerts,
			DuplicateOf: schema.EventID(j.base, first.Offset, j.partition),
		}, true
	}
	set := j.set(e.Tenant)
	at, values := j.windows.Observe(set, e)
	x = schema.Exception{Offset: offset, Score: e.Severity.BaseScore()}
	id := schema.EventID(j.base, offset, j.partition)
	failed := set.Eval(e, values, func(p *rules.Program) {
		rule := p.Rule()
		if rule.Mode == rules.Shadow {
			j.counts.shadowHits++
			return
		}
		x.Score = min(x.Score+rule.Score, schema.MaxScore)
		j.hit(&x, p, id, at, e, values)
	})
	j.counts.ruleErrors += uint64(failed)
	j.seen.Judged(len(x.Alerts), x.Score)
	return x, x.Score != e.Severity.BaseScore() || len(x.Alerts)+len(x.Hits) > 0
}

// tick counts an event and, at some counts, forgets old alerts.
func (j *judge) tick() {
	j.counts.events++
	if j.counts.events%forgetEvery == 0 {
		j.alerts.Forget(j.logTime - forgetAfter)
	}
}

// hit records that a live rule holds: as an alert, or as a hit on one.
func (j *judge) hit(x *schema.Exception, p *rules.Program, id int64, at schema.Millis, e *schema.Event, values rules.Values) {
	rule := p.Rule()
	hit, raised := j.alerts.Hit(alert.Occurrence{
		Tenant: e.Tenant, KeyID: e.KeyID, RuleID: rule.ID, Version: p.Version, Dedup: rule.Dedup, EventID: id, At: at,
	})
	if !raised {
		j.counts.hits++
		x.Hits = append(x.Hits, hit)
		return
	}
	j.counts.alerts++
	x.Alerts = append(x.Alerts, schema.Alert{
		ID:          hit.AlertID,
		RuleID:      rule.ID,
		RuleVersion: p.Version,
		RuleName:    rule.Name,
		Severity:    rule.Severity,
		Message:     p.Message(e, values),
		EventID:     id,
		RaisedAt:    hit.RaisedAt,
		Values:      p.ValuesJSON(values),
	})
}
