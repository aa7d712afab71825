package notify

import (
	"encoding/json"
	"fmt"
	"slices"

	"keypulse/schema"
)

// State is where a delivery is.
type State string

// The states of a delivery. A delivered or failed one becomes pending again when somebody asks for it again.
const (
	Pending   State = "pending"   // to be tried at NextAt
	Delivered State = "delivered" // the target took it
	Failed    State = "failed"    // the schedule is over, or the webhook is disabled
)

// Delivery is one message to one target.
type Delivery struct {
	ID        string          `json:"id"` // the header webhook-id
	Tenant    schema.Tenant   `json:"tenant"`
	Webhook   string          `json:"webhook"`
	Type      string          `json:"type"` // of the message: alert.raised, alert.digest, webhook.test
	Timestamp schema.Millis   `json:"timestamp"`
	Alerts    int             `json:"alerts"`
	Due       schema.Millis   `json:"due"`            // when it should have been sent; much later it is delayed
	Data      json.RawMessage `json:"data,omitempty"` // a record that leaves it out leaves it as it is
	CreatedAt schema.Millis   `json:"created_at"`
	State     State           `json:"state"`
	Step      int             `json:"step"` // of the schedule
	NextAt    schema.Millis   `json:"next_at,omitempty"`
	Reason    string          `json:"reason,omitempty"` // why it failed for good
	Attempts  int             `json:"attempts"`
	Tries     []Try           `json:"tries,omitempty"` // the last of the attempts
}

// Try is one attempt.
type Try struct {
	At     schema.Millis `json:"at"`
	Status int           `json:"status,omitempty"` // of HTTP or SMTP; 0: no answer
	Error  string        `json:"error,omitempty"`
	TookMS int64         `json:"took_ms"`
}

// Hidden is what a silence hid.
type Hidden struct {
	Count  int64         `json:"count"`
	LastAt schema.Millis `json:"last_at"`
	Alerts []string      `json:"alerts"` // ids, the oldest first: the last keepHidden
}

// The bounds of the outbox, for each webhook or silence.
const (
	// keepFinished deliveries are kept to be looked at and sent again; the oldest goes.
	keepFinished = 100
	keepTries    = 12
	keepHidden   = 100
	// maxGathered alerts are listed in a digest; those beyond are counted.
	maxGathered = 1000
)

// summary is what a digest says of an alert.
type summary struct {
	ID       string        `json:"id"`
	RuleID   string        `json:"rule_id"`
	RuleName string        `json:"rule_name"`
	Severity string        `json:"severity"`
	KeyID    string        `json:"key_id"`
	Message  string        `json:"message"`
	RaisedAt schema.Millis `json:"raised_at"`
}

// ref names a webhook or a silence.
type ref struct {
	Tenant schema.Tenant `json:"tenant"`
	ID     string        `json:"id"`
}

// mark is the last alert of a partition of the events of which a notice was read.
type mark struct {
	EventID int64 `json:"event_id"`
	Index   int   `json:"index"`
}

func (m mark) before(n mark) bool {
	return m.EventID < n.EventID || m.EventID == n.EventID && m.Index < n.Index
}

// record is a decision: one record of the log, so all of it is there or nothing, also that a notice was read.
type record struct {
	Next       int64          `json:"next,omitempty"` // of the notices
	Seen       map[int32]mark `json:"seen,omitempty"` // what has changed of it
	Deliveries []*Delivery    `json:"deliveries,omitempty"`
	Gather     []gather       `json:"gather,omitempty"`
	Flush      *ref           `json:"flush,omitempty"` // what was gathered is in a delivery
	Hide       *hide          `json:"hide,omitempty"`
	Forget     *ref           `json:"forget,omitempty"` // a webhook that is no more
}

type gather struct {
	Ref   ref           `json:"ref"`
	At    schema.Millis `json:"at"`
	Alert *summary      `json:"alert,omitempty"` // nil: only counted
	More  int           `json:"more,omitempty"`
}

type hide struct {
	Ref   ref           `json:"ref"`
	At    schema.Millis `json:"at"`
	Alert string        `json:"alert"`
	Whole *Hidden       `json:"whole,omitempty"` // replaces what is there
}

// outbox is what has been decided in one partition: the log's records, applied in order.
type outbox struct {
	next       int64
	seen       map[int32]mark
	deliveries map[string]*Delivery
	targets    map[ref]*target
	hidden     map[ref]*Hidden
}

// target is the part of the outbox that is one webhook's.
type target struct {
	pending  int
	finished []*Delivery     // the oldest first
	singles  []schema.Millis // when the last messages about one alert were made
	gathered []summary
	more     int           // alerts that a digest only counts
	since    schema.Millis // when the first was gathered
}

func newOutbox() *outbox {
	return &outbox{seen: map[int32]mark{}, deliveries: map[string]*Delivery{}, targets: map[ref]*target{}, hidden: map[ref]*Hidden{}}
}

func (o *outbox) target(r ref) *target {
	t := o.targets[r]
	if t == nil {
		t = new(target)
		o.targets[r] = t
	}
	return t
}

func (d *Delivery) ref() ref { return ref{d.Tenant, d.Webhook} }

// apply makes a decision hold. Applying records again, from any earlier one on, makes the same outbox.
func (o *outbox) apply(r *record) {
	o.next = max(o.next, r.Next)
	for partition, m := range r.Seen {
		o.seen[partition] = m
	}
	for _, d := range r.Deliveries {
		o.put(*d)
	}
	if r.Flush != nil { // before what the same record gathers: see regather
		t := o.target(*r.Flush)
		t.gathered, t.more, t.since = nil, 0, 0
	}
	for i := range r.Gather {
		o.gather(&r.Gather[i])
	}
	if r.Hide != nil {
		o.hide(r.Hide)
	}
	if r.Forget != nil {
		o.forget(*r.Forget)
	}
}

func (o *outbox) forget(r ref) {
	for id, d := range o.deliveries {
		if d.ref() == r {
			delete(o.deliveries, id)
		}
	}
	delete(o.targets, r)
}

func (o *outbox) put(d Delivery) {
	t := o.target(d.ref())
	old := o.deliveries[d.ID]
	if old == nil {
		old = new(Delivery)
		o.deliveries[d.ID] = old
		if d.Type == typeAlert {
			t.singles = append(t.singles, d.CreatedAt)
			if len(t.singles) > maxBurst {
				t.singles = t.singles[1:]
			}
		}
	} else {
		if old.State == Pending {
			t.pending--
		}
		t.finished = slices.DeleteFunc(t.finished, func(f *Delivery) bool { return f.ID == d.ID })
		if d.Data == nil {
			d.Data = old.Data
		}
	}
	*old = d
	if d.State == Pending {
		t.pending++
		return
	}
	if t.finished = append(t.finished, old); len(t.finished) > keepFinished {
		delete(o.deliveries, t.finished[0].ID)
		t.finished = slices.Delete(t.finished, 0, 1)
	}
}

func (o *outbox) gather(g *gather) {
	t := o.target(g.Ref)
	if t.since == 0 {
		t.since = g.At
	}
	t.more += g.More
	if g.Alert == nil {
		return
	}
	if len(t.gathered) >= maxGathered {
		t.more++
		return
	}
	t.gathered = append(t.gathered, *g.Alert)
}

func (o *outbox) hide(h *hide) {
	if h.Whole != nil {
		o.hidden[h.Ref] = h.Whole
		return
	}
	x := o.hidden[h.Ref]
	if x == nil {
		x = new(Hidden)
		o.hidden[h.Ref] = x
	}
	x.Count, x.LastAt = x.Count+1, h.At
	if x.Alerts = append(x.Alerts, h.Alert); len(x.Alerts) > keepHidden {
		x.Alerts = slices.Delete(x.Alerts, 0, 1)
	}
}

// regather makes what has been gathered again, in one record: half of it must never hold.
func (t *target) regather(r ref) record {
	all := record{Flush: &r, Gather: []gather{{Ref: r, At: t.since, More: t.more}}}
	for i := range t.gathered {
		all.Gather = append(all.Gather, gather{Ref: r, At: t.since, Alert: &t.gathered[i]})
	}
	return all
}

// whole returns records that make the outbox from nothing. The position comes last: a reader that begins in the middle of
// them has not got it yet.
func (o *outbox) whole() []record {
	var all []record
	for r, t := range o.targets {
		for _, d := range t.finished {
			all = append(all, record{Deliveries: []*Delivery{d}})
		}
		if t.since != 0 {
			all = append(all, t.regather(r))
		}
	}
	for _, d := range o.deliveries {
		if d.State == Pending {
			all = append(all, record{Deliveries: []*Delivery{d}})
		}
	}
	for r, h := range o.hidden {
		all = append(all, record{Hide: &hide{Ref: r, Whole: h}})
	}
	return append(all, record{Next: o.next, Seen: o.seen})
}

func decodeRecord(value []byte) (record, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("decode outbox record: %w", err)
	}
	return r, nil
}
