package bench

import (
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatency is the largest latency that a histogram holds; a longer one counts as this.
const maxLatency = time.Hour

// maxErrorKinds bounds the kinds of errors that are told apart; the rest is "other".
const maxErrorKinds = 32

// outcome is what became of one request.
type outcome struct {
	status    int           // 0 when there was no answer
	scheduled time.Duration // from the due time to the answer
	service   time.Duration // from the sending to the answer
	answer    *answer       // of a 2xx that could be read, else nil
	events    int           // in the request
	errorKind string        // "" for a 2xx that could be read and for a 429
	errorText string
}

// tally counts the outcomes of a phase.
type tally struct {
	mu sync.Mutex
	// guards the following
	requests     int64
	events       int64 // acked
	late         int64
	unsent       int64
	notEvaluated int64
	alerts       int64
	errors       int64
	rateLimited  int64
	statuses     map[int]int64
	errorKinds   map[string]int64
	firstError   string
	ack          *hdrhistogram.Histogram // µs
	service      *hdrhistogram.Histogram
	verdict      *hdrhistogram.Histogram
}

func newTally() *tally {
	return &tally{
		statuses:   make(map[int]int64),
		errorKinds: make(map[string]int64),
		ack:        newHistogram(),
		service:    newHistogram(),
		verdict:    newHistogram(),
	}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency.Microseconds(), 3) }

// observe adds d to h. The clamp makes RecordValue's only error, out of range, impossible.
func observe(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d, 0), maxLatency).Microseconds())
}

func (t *tally) record(o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	if o.status != 0 {
		t.statuses[o.status]++
	}
	switch {
	case o.status == 429:
		t.rateLimited++
	case o.errorKind != "":
		t.countError(o)
	default:
		t.events += int64(o.events)
		t.notEvaluated += o.answer.notEvaluated
		t.alerts += o.answer.alerts
		observe(t.ack, o.scheduled)
		observe(t.service, o.service)
		if o.answer.alerts > 0 {
			observe(t.verdict, o.scheduled)
		}
	}
}

// countError is called with the lock held.
func (t *tally) countError(o *outcome) {
	t.errors++
	kind := o.errorKind
	if _, known := t.errorKinds[kind]; !known && len(t.errorKinds) >= maxErrorKinds {
		kind = "other"
	}
	t.errorKinds[kind]++
	if t.firstError == "" {
		t.firstError = o.errorText
	}
}

// wait counts a slot that was due before a connection was free; it was given up when sent is false.
func (t *tally) wait(events int, sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late++
	if !sent {
		t.unsent += int64(events)
	}
}

// report fills in what the tally knows.
func (t *tally) report(r *Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Requests, r.Events = t.requests, t.events
	r.Late, r.Unsent = t.late, t.unsent
	r.NotEvaluated, r.AlertsTriggered = t.notEvaluated, t.alerts
	r.ErrorCount, r.Errors, r.FirstError = t.errors, t.errorKinds, t.firstError
	r.RateLimited = t.rateLimited
	r.Statuses = make(map[string]int64, len(t.statuses))
	for status, n := range t.statuses {
		r.Statuses[strconv.Itoa(status)] = n
	}
	r.Ack, r.Service, r.Verdict = latencyOf(t.ack), latencyOf(t.service), latencyOf(t.verdict)
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latency{
		Count: h.TotalCount(),
		P50:   ms(h.ValueAtQuantile(50)),
		P90:   ms(h.ValueAtQuantile(90)),
		P99:   ms(h.ValueAtQuantile(99)),
		P999:  ms(h.ValueAtQuantile(99.9)),
		Max:   ms(h.Max()),
	}
}
