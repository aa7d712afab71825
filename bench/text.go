package bench

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// WriteText writes the report for people: what went wrong first, then what was sent, the load, then the latencies.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	r.writeTrouble(&b)
	r.writeSetup(&b)
	r.writeLoad(&b)
	r.writeLatencies(&b)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *Report) writeTrouble(b *bytes.Buffer) {
	if r.ErrorCount > 0 {
		fmt.Fprintf(b, "ERRORS            %d of %d requests\n", r.ErrorCount, r.Requests)
		writeCounts(b, r.Errors)
		fmt.Fprintf(b, "  the first: %s\n", r.FirstError)
	}
	if r.RateLimited > 0 {
		fmt.Fprintf(b, "RATE LIMITED      %d of %d requests (429): use a key without a limit: keypulse apikey create --rate-limit 0\n",
			r.RateLimited, r.Requests)
	}
	if r.Unsent > 0 {
		fmt.Fprintf(b, "UNSENT            %d events: the instance did not keep up with the rate\n", r.Unsent)
	}
	if v := r.Visible; v != nil && v.Unseen > 0 {
		fmt.Fprintf(b, "UNSEEN ALERTS     %d not in GET /api/alerts within %v\n", v.Unseen, visibleWithin)
	}
	if v := r.Visible; v != nil && len(v.PollErrors) > 0 {
		fmt.Fprintf(b, "FAILED POLLS      of GET /api/alerts\n")
		writeCounts(b, v.PollErrors)
	}
}

func writeCounts(b *bytes.Buffer, counts map[string]int64) {
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "  %-30s %d\n", kind, counts[kind])
	}
}

func (r *Report) writeSetup(b *bytes.Buffer) {
	s := &r.Setup
	loop := "closed loop"
	if s.Rate > 0 {
		loop = fmt.Sprintf("open loop of %g events/s", s.Rate)
	}
	wait := "verdict waited for"
	if s.Async {
		wait = "respond-async"
	}
	fmt.Fprintf(b, "%s: %s, batch %d, %d connections, %d keys, skew %g, seed %d, %s\nThe events stay in the tenant of the API key.\n\n",
		s.URL, loop, s.Batch, s.Connections, s.Keys, s.Skew, s.Seed, wait)
}

func (r *Report) writeLoad(b *bytes.Buffer) {
	fmt.Fprintf(b, "events/s          %.1f (%d events acked in %.3f s)\n", r.EventsPerSecond, r.Events, r.Seconds)
	fmt.Fprintf(b, "statuses         ")
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		fmt.Fprintf(b, " %s: %d", status, r.Statuses[status])
	}
	fmt.Fprintf(b, "\nlate sends        %d of %d\n", r.Late, r.Requests)
	fmt.Fprintf(b, "not evaluated     %d\n", r.NotEvaluated)
	fmt.Fprintf(b, "alerts triggered  %d\n\n", r.AlertsTriggered)
}

func (r *Report) writeLatencies(b *bytes.Buffer) {
	fmt.Fprintf(b, "%-34s %9s %9s %9s %9s %9s %9s\n", "latency, ms", "count", "p50", "p90", "p99", "p99.9", "max")
	if r.Setup.Rate > 0 {
		writeLatency(b, "ack, from the due time", r.Ack)
	}
	writeLatency(b, "ack, from the sending", r.Service)
	writeLatency(b, "POST to alert in the answer", r.Verdict)
	if r.Visible != nil {
		name := fmt.Sprintf("POST to GET /api/alerts (+0-%d ms)", r.Visible.PollMS)
		writeLatency(b, name, r.Visible.Latency)
	}
}

func writeLatency(b *bytes.Buffer, name string, l Latency) {
	if l.Count == 0 {
		return
	}
	fmt.Fprintf(b, "%-34s %9d %9.3f %9.3f %9.3f %9.3f %9.3f\n", name, l.Count, l.P50, l.P90, l.P99, l.P999, l.Max)
}
