package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"keypulse/schema"
)

// The bounds of a webhook's settings, and their defaults.
const (
	maxBurst      = 1000
	DefaultBurst  = 20
	MaxBurst      = maxBurst
	DefaultDigest = 60 // seconds
	MinDigest     = 5
	MaxDigest     = 3600
)

// MaxPending messages of a webhook wait to be sent. Beyond them alerts are gathered, and told when there is room; tests are
// dropped.
const MaxPending = 100

// SilencesKept is how long a silence that has ended is shown.
const SilencesKept = 90 * 24 * time.Hour

const (
	// burstWindow is the time in which Burst messages about one alert each may be made.
	burstWindow = time.Minute
	// clocks is by how much an alert may seem older than the webhook that is to tell it: they are two nodes' clocks.
	clocks = 10 * time.Second
)

// desk decides what becomes of notices and attempts in one partition. It does no I/O and reads no clock; what it decides it
// returns as records, which the outbox has already applied.
type desk struct {
	box      *outbox
	webhooks *Webhooks
	silences *Silences
	tags     *Tags
	schedule []time.Duration
}

// take decides what becomes of the notice at offset: in the decision is also that it was read.
func (d *desk) take(n *schema.NoticeRecord, offset int64, now time.Time) record {
	var r record
	switch n.Kind {
	case schema.NoticeAlert:
		_, from := schema.SplitEventID(0, n.EventID)
		at := mark{n.EventID, n.Index}
		if d.box.seen[from].before(at) { // else the relay has written it again
			r = d.alert(n, now)
			r.Seen = map[int32]mark{from: at}
		}
	case schema.NoticeTest:
		r = d.test(n, now)
	case schema.NoticeResend:
		r = d.resend(n, now)
	}
	r.Next = offset + 1
	d.box.apply(&r)
	return r
}

// alert tells an alert to each webhook that it passes, unless a silence hides it.
func (d *desk) alert(n *schema.NoticeRecord, now time.Time) (r record) {
	var a summary
	if json.Unmarshal(n.Alert, &a) != nil || a.ID == "" {
		return r
	}
	tags := d.tags.of(n.Tenant, a.KeyID)
	if id, ok := d.silenced(n.Tenant, &a, tags); ok {
		return record{Hide: &hide{Ref: ref{n.Tenant, id}, At: a.RaisedAt, Alert: a.ID}}
	}
	for _, v := range d.webhooks.Of(n.Tenant) {
		w := &v.Record
		if !passes(w, &a, tags) {
			continue
		}
		to := ref{n.Tenant, w.ID}
		if d.single(to, w, now) {
			r.Deliveries = append(r.Deliveries, message(to, typeAlert, a.ID, a.RaisedAt, a.RaisedAt, 1, alertData(n), now))
		} else {
			r.Gather = append(r.Gather, gather{Ref: to, At: schema.MillisOf(now), Alert: shortened(a)})
		}
	}
	return r
}

// passes reports whether an alert is for a webhook.
func passes(w *schema.WebhookRecord, a *summary, tags []string) bool {
	return !w.Deleted && w.Disabled == "" &&
		a.RaisedAt >= w.CreatedAt-schema.Millis(clocks.Milliseconds()) &&
		names(w.Rules, a.RuleID) && names(w.Severities, a.Severity) && namesAny(w.Tags, tags)
}

// names reports whether a list, in which nothing stands for everything, has a word.
func names(list []string, word string) bool { return len(list) == 0 || slices.Contains(list, word) }

func namesAny(list, words []string) bool {
	return len(list) == 0 || slices.ContainsFunc(words, func(w string) bool { return slices.Contains(list, w) })
}

// silenced returns the first silence that hides an alert.
func (d *desk) silenced(tenant schema.Tenant, a *summary, tags []string) (id string, ok bool) {
	for _, v := range d.silences.Of(tenant) {
		s := &v.Record
		if s.Since <= a.RaisedAt && a.RaisedAt < s.Until && names(s.Rules, a.RuleID) && names(s.Severities, a.Severity) && names(s.KeyIDs, a.KeyID) && namesAny(s.Tags, tags) {
			return s.ID, true
		}
	}
	return "", false
}

// single reports whether the next alert for a webhook has a message of its own.
func (d *desk) single(r ref, w *schema.WebhookRecord, now time.Time) bool {
	t := d.box.target(r)
	if t.since != 0 || t.pending >= MaxPending {
		return false
	}
	recent := 0
	for _, at := range t.singles {
		if now.Sub(at.Time()) < burstWindow {
			recent++
		}
	}
	return recent < w.Burst
}

// shortened is what a digest says of an alert.
func shortened(a summary) *summary {
	const longest = 200
	if message := []rune(a.Message); len(message) > longest {
		a.Message = string(message[:longest]) + "…"
	}
	return &a
}

// message makes a delivery; kind and what say what is told, and so decide its id.
func message(r ref, kind, what string, timestamp, due schema.Millis, alerts int, data json.RawMessage, now time.Time) *Delivery {
	at := schema.MillisOf(now)
	return &Delivery{
		ID: deliveryID(r.Tenant, r.ID, kind, what), Tenant: r.Tenant, Webhook: r.ID, Type: kind, Timestamp: timestamp, Due: due, Alerts: alerts,
		Data: data, CreatedAt: at, State: Pending, NextAt: at,
	}
}

func (d *desk) test(n *schema.NoticeRecord, now time.Time) record {
	at := schema.MillisOf(now)
	data := mustMarshal(map[string]string{"webhook_id": n.WebhookID, "by": n.By})
	x := message(ref{n.Tenant, n.WebhookID}, typeTest, n.ID, at, at, 0, data, now)
	if d.box.deliveries[x.ID] != nil || d.box.target(x.ref()).pending >= MaxPending {
		return record{}
	}
	return record{Deliveries: []*Delivery{x}}
}

// resend makes a delivery pending, whatever it is; its tries and its id stay.
func (d *desk) resend(n *schema.NoticeRecord, now time.Time) record {
	old := d.box.deliveries[n.DeliveryID]
	if old == nil || old.Tenant != n.Tenant || old.Webhook != n.WebhookID {
		return record{} // it was the oldest, and had to go meanwhile
	}
	again := *old
	again.Data, again.State, again.Step, again.NextAt, again.Reason = nil, Pending, 0, schema.MillisOf(now), ""
	return record{Deliveries: []*Delivery{&again}}
}

// digests makes one of what has been gathered, for each webhook whose time has come.
func (d *desk) digests(now time.Time) (all []record) {
	for to, t := range d.box.targets {
		if t.since == 0 || t.pending >= MaxPending {
			continue
		}
		v, ok := d.webhooks.Get(to.Tenant, to.ID)
		if !ok || v.Record.Deleted || v.Record.Disabled != "" {
			continue // sweep sees to it
		}
		wait := time.Duration(v.Record.DigestSeconds) * time.Second
		if now.Sub(t.since.Time()) >= wait || len(t.gathered) >= maxGathered {
			all = append(all, record{Deliveries: []*Delivery{t.digest(to, wait, now)}, Flush: &to})
		}
	}
	for i := range all {
		d.box.apply(&all[i])
	}
	return all
}

// digest is the message about what has been gathered, which may wait so long.
func (t *target) digest(to ref, wait time.Duration, now time.Time) *Delivery {
	data := newDigest(t.gathered, t.more)
	what := fmt.Sprint(t.since)
	if len(t.gathered) > 0 {
		what = t.gathered[0].ID // an alert is gathered once
	}
	due := data.FirstAt + schema.Millis(wait.Milliseconds())
	return message(to, typeDigest, what, data.LastAt, due, data.Count, mustMarshal(data), now)
}

// sweep ends what is left of webhooks that were deleted or disabled.
func (d *desk) sweep(now time.Time) (all []record) {
	for to, t := range d.box.targets {
		v, ok := d.webhooks.Get(to.Tenant, to.ID)
		switch {
		case !ok || v.Record.Deleted:
			all = append(all, record{Forget: &to})
		case v.Record.Disabled != "" && (t.pending > 0 || t.since != 0):
			all = append(all, d.close(to, t, now))
		}
	}
	for i := range all {
		d.box.apply(&all[i])
	}
	return all
}

// prune forgets what silences hid that nobody is shown any more. Only the outbox that is written anew leaves it out.
func (d *desk) prune(now time.Time) {
	for r := range d.box.hidden {
		if v, ok := d.silences.Get(r.Tenant, r.ID); ok && now.Sub(v.Record.Until.Time()) > SilencesKept {
			delete(d.box.hidden, r)
		}
	}
}

// close fails what waits for a disabled webhook; it can be sent again by hand.
func (d *desk) close(to ref, t *target, now time.Time) (r record) {
	for _, x := range d.box.deliveries {
		if x.ref() == to && x.State == Pending {
			r.Deliveries = append(r.Deliveries, ended(*x, Failed, reasonDisabled))
		}
	}
	if t.since != 0 {
		x := t.digest(to, 0, now)
		data := x.Data
		x = ended(*x, Failed, reasonDisabled)
		x.Data = data
		r.Deliveries, r.Flush = append(r.Deliveries, x), &to
	}
	return r
}

// Why a delivery failed for good.
const (
	reasonDisabled = "the webhook is disabled"
	reasonGone     = "the endpoint is gone (410)"
	reasonOver     = "every try of the schedule has failed"
)

func ended(x Delivery, state State, reason string) *Delivery {
	x.Data, x.State, x.Reason, x.NextAt = nil, state, reason, 0
	return &x
}

// result is what came of an attempt.
type result struct {
	id         string
	ref        ref
	try        Try
	failing    bool   // the webhook's last try before had failed
	notMade    bool   // nothing was sent; it is tried again
	closed     bool   // nothing was sent, nor will be: the webhook is disabled
	disable    string // why the webhook is to be disabled
	ok         bool
	gone       bool          // the target wants nothing any more
	hold       bool          // the target wants less
	retryAfter time.Duration // 0: it did not say
}

// outcome decides what follows from an attempt. disable is why the webhook is to be disabled, "" for not.
func (d *desk) outcome(res result, now time.Time) (r record, disable string) {
	old := d.box.deliveries[res.id]
	if old == nil { // its webhook was deleted
		return r, ""
	}
	x := *old
	if res.notMade {
		return r, ""
	}
	x.Attempts++
	x.Tries = append(slices.Clone(x.Tries), res.try)
	x.Tries = x.Tries[max(0, len(x.Tries)-keepTries):]
	next, disable := d.after(&x, res, now)
	r = record{Deliveries: []*Delivery{next}}
	d.box.apply(&r)
	return r, disable
}

// after is what a delivery becomes by an attempt that it has been given.
func (d *desk) after(x *Delivery, res result, now time.Time) (next *Delivery, disable string) {
	switch {
	case res.ok:
		return ended(*x, Delivered, ""), ""
	case x.State != Pending: // its webhook was disabled meanwhile
		return ended(*x, x.State, x.Reason), ""
	case res.closed:
		return ended(*x, Failed, reasonDisabled), ""
	case res.gone:
		return ended(*x, Failed, reasonGone), schema.DisabledGone
	}
	delay, again := wait(d.schedule, x.Step, res.retryAfter)
	if !again {
		if d.failing(x) {
			disable = schema.DisabledFailing
		}
		return ended(*x, Failed, reasonOver), disable
	}
	x.Data, x.Step, x.NextAt = nil, x.Step+1, schema.MillisOf(now.Add(delay))+1 // rounded up: not before what was asked for
	return x, ""
}

// failing reports whether a webhook has taken nothing since a delivery that has failed for good was made.
func (d *desk) failing(x *Delivery) bool {
	for _, other := range d.box.targets[x.ref()].finished {
		if n := len(other.Tries); other.State == Delivered && n > 0 && other.Tries[n-1].At > x.CreatedAt {
			return false
		}
	}
	return true
}
