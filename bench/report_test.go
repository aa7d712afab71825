package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"keypulse/schema"
)

func testReport() Report {
	cfg := DefaultConfig()
	cfg.APIKey, cfg.Alerts = "kp_live_secret", true
	r := Report{
		Setup:     setupOf(&cfg),
		StartedAt: schema.MillisOf(time.Date(2026, 4, 5, 12, 34, 0, 0, time.UTC)),
		Visible:   &Visible{Unseen: 1, PollMS: 100, PollErrors: map[string]int64{"status 503": 2}},
	}
	t := newTally()
	a := answer{alerts: 1, notEvaluated: 1}
	for i := range 1000 {
		o := outcome{status: 201, scheduled: time.Duration(i+1) * time.Millisecond, service: time.Millisecond, answer: &a, events: 1}
		t.record(&o)
	}
	t.record(&outcome{status: 429, events: 1})
	t.record(&outcome{status: 503, events: 1, errorKind: "status 503 outcome_unknown", errorText: "status 503 outcome_unknown: try again"})
	t.record(&outcome{events: 1, errorKind: "timeout", errorText: "timeout"})
	t.wait(1, true)
	t.wait(5, false)
	t.report(&r)
	w := watcher{seen: newHistogram()}
	observe(w.seen, 250*time.Millisecond)
	r.Visible.Latency = latencyOf(w.seen)
	r.setLength(10 * time.Second)
	return r
}

func TestReportJSON(t *testing.T) {
	b, err := json.MarshalIndent(testReport(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("kp_live_")) {
		t.Error("the report shows the API key")
	}
	golden(t, "report.json", append(b, '\n'))
}

func TestReportText(t *testing.T) {
	var b bytes.Buffer
	if err := testReport().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
	b.Reset()
	if err := (Report{}).WriteText(&b); err != nil || strings.Contains(b.String(), "NaN") {
		t.Errorf("an empty report: %v\n%s", err, b.String())
	}
}

func TestErrorKindsAreBounded(t *testing.T) {
	tally := newTally()
	for i := range 100 {
		tally.record(&outcome{errorKind: strings.Repeat("x", i+1)})
	}
	if len(tally.errorKinds) != maxErrorKinds+1 || tally.errorKinds["other"] != 100-maxErrorKinds {
		t.Errorf("%d kinds, %d other", len(tally.errorKinds), tally.errorKinds["other"])
	}
}
