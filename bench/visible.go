package bench

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

const (
	pollEvery     = 100 * time.Millisecond // between two polls of GET /api/alerts
	visibleWithin = 10 * time.Second       // then a probe's alert is given up as unseen
	maxWatched    = 64                     // probes watched at a time; others pass unwatched
	maxSamples    = 10_000                 // probes watched in a run
	minListed     = 50                     // alerts asked for in a poll
	maxListed     = 500
)

// watched is a probe event whose alert is not visible yet.
type watched struct {
	eventID int64
	due     time.Time
	nth     int64 // of the probes acked
}

// watcher finds out when alerts show in GET /api/alerts. One goroutine, in run, owns all but offered and acked.
type watcher struct {
	list    *call
	path    string
	offered chan watched // full: the probe passes unwatched
	acked   atomic.Int64

	pending []watched
	buf     []byte
	seen    *hdrhistogram.Histogram // µs
	samples int64
	unseen  int64
	errors  map[string]int64
}

func newWatcher(c *client, ruleID string) *watcher {
	return &watcher{
		list:    c.newCall(fasthttp.MethodGet, "/api/alerts"),
		path:    c.root + "/api/alerts?rule=" + ruleID + "&limit=",
		offered: make(chan watched, maxWatched),
		seen:    newHistogram(),
		errors:  make(map[string]int64),
	}
}

// offer hands an acked probe over, from any goroutine. It never blocks.
func (w *watcher) offer(eventID int64, due time.Time) {
	select {
	case w.offered <- watched{eventID: eventID, due: due, nth: w.acked.Add(1)}:
	default:
	}
}

// run polls until offered is closed and every watched probe is seen or given up, or until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer w.list.close()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	open := true
	for open || len(w.pending) > 0 {
		var offered chan watched
		if open && len(w.pending) < maxWatched {
			offered = w.offered
		}
		select {
		case <-ctx.Done():
			return
		case p, ok := <-offered:
			open = ok
			if ok && w.samples < maxSamples {
				w.samples++
				w.pending = append(w.pending, p)
			}
		case <-ticker.C:
			if len(w.pending) > 0 {
				w.poll()
			}
		}
	}
}

// poll asks for the newest alerts, notes those that were waited for, and gives up those that are overdue.
func (w *watcher) poll() {
	w.buf = fmt.Appendf(w.buf[:0], "%s%d", w.path, w.listed())
	w.list.req.SetRequestURIBytes(w.buf)
	status, body, err := w.list.do(nil)
	now := time.Now()
	switch {
	case err != nil:
		w.countError(errorKind(err))
	case status != fasthttp.StatusOK:
		kind, _ := refusal(status, body)
		w.countError(kind)
	case !eachAlert(body, func(eventID int64) { w.found(eventID, now) }):
		w.countError(errBadAnswer.Error())
	}
	w.pending = slices.DeleteFunc(w.pending, func(p watched) bool {
		overdue := now.Sub(p.due) > visibleWithin
		if overdue {
			w.unseen++
		}
		return overdue
	})
}

func (w *watcher) countError(kind string) {
	if len(w.errors) < maxErrorKinds {
		w.errors[kind]++
	}
}

// listed is how many alerts to ask for: about twice those raised since the oldest watched one, so that it cannot
// hide behind newer ones, and no more, for the list's making is load as well.
func (w *watcher) listed() int64 {
	return min(minListed+2*(w.acked.Load()-w.pending[0].nth), maxListed)
}

func (w *watcher) found(eventID int64, now time.Time) {
	i := slices.IndexFunc(w.pending, func(p watched) bool { return p.eventID == eventID })
	if i < 0 {
		return
	}
	observe(w.seen, now.Sub(w.pending[i].due))
	w.pending = slices.Delete(w.pending, i, i+1)
}

// eachAlert calls f with the event_id of each alert of an answer to GET /api/alerts.
func eachAlert(body []byte, f func(eventID int64)) bool {
	ok := false
	isObject := eachMember(body, func(name, value []byte) {
		if string(name) != "alerts" {
			return
		}
		ok = eachElement(value, func(alert []byte) {
			eachMember(alert, func(name, value []byte) {
				if id, isInt := integer(value); isInt && string(name) == "event_id" {
					f(id)
				}
			})
		})
	})
	return isObject && ok
}

func (w *watcher) report(r *Report) {
	r.Visible = &Visible{
		Latency: latencyOf(w.seen), Unseen: w.unseen, PollMS: pollEvery.Milliseconds(), PollErrors: w.errors,
	}
}
