package bench

import (
	"time"

	"keypulse/schema"
)

// Report is what a run measured. Warm-up and set-up are not in it.
type Report struct {
	Setup           Setup            `json:"setup"`
	StartedAt       schema.Millis    `json:"started_at"`
	Seconds         float64          `json:"seconds"`           // from the first due time to the last answer
	Requests        int64            `json:"requests"`          // sent
	Events          int64            `json:"events"`            // acked: in a 2xx answer
	EventsPerSecond float64          `json:"events_per_second"` // acked
	ErrorCount      int64            `json:"error_count"`       // requests that were neither acked nor rate limited
	Errors          map[string]int64 `json:"errors"`            // those, by kind
	FirstError      string           `json:"first_error"`
	RateLimited     int64            `json:"rate_limited"`     // answers 429
	Unsent          int64            `json:"unsent"`           // events given up because no connection was free for the timeout
	Late            int64            `json:"late"`             // requests that were due before a connection was free
	Statuses        map[string]int64 `json:"statuses"`         // answers by status
	NotEvaluated    int64            `json:"not_evaluated"`    // acked events with "evaluated": false
	AlertsTriggered int64            `json:"alerts_triggered"` // the sum over the answers
	Ack             Latency          `json:"ack"`              // due time to 2xx
	Service         Latency          `json:"service"`          // sending to 2xx
	Verdict         Latency          `json:"verdict"`          // due time to a 2xx with alerts_triggered above 0
	Visible         *Visible         `json:"visible"`          // null without alerts
}

// Setup is the Config of a run without its key. Durations are in seconds.
type Setup struct {
	URL         string  `json:"url"`
	Seed        uint64  `json:"seed"`
	Rate        float64 `json:"rate"` // events/s; 0 = closed loop
	Events      int     `json:"events"`
	Seconds     float64 `json:"seconds"`
	WarmUp      float64 `json:"warm_up_seconds"`
	Batch       int     `json:"batch"`
	Connections int     `json:"connections"`
	Keys        int     `json:"keys"`
	Skew        float64 `json:"skew"`
	Timeout     float64 `json:"timeout_seconds"`
	Async       bool    `json:"async"`
	AlertEvery  int     `json:"alert_every"` // 0 = no alerts
}

// Latency is a distribution in milliseconds, from an HDR histogram of 3 significant digits and 1 µs. All zero when Count is.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Visible is the time from an event's due time until a poll of GET /api/alerts showed its alert, so it is too long by
// up to one poll's interval.
type Visible struct {
	Latency
	Unseen     int64            `json:"unseen"` // alerts that did not show within 10 s
	PollMS     int64            `json:"poll_ms"`
	PollErrors map[string]int64 `json:"poll_errors"`
}

func setupOf(c *Config) Setup {
	s := Setup{
		URL: c.URL, Seed: c.Seed, Rate: c.Rate, Events: c.Events, Seconds: c.Duration.Seconds(),
		WarmUp: c.WarmUp.Seconds(), Batch: c.Batch, Connections: c.Connections, Keys: c.Keys, Skew: c.Skew,
		Timeout: c.Timeout.Seconds(), Async: c.Async,
	}
	if c.Alerts {
		s.AlertEvery = c.AlertEvery
	}
	return s
}

// setLength sets the phase's length and what follows from it.
func (r *Report) setLength(d time.Duration) {
	r.Seconds = d.Seconds()
	if r.Seconds > 0 {
		r.EventsPerSecond = float64(r.Events) / r.Seconds
	}
}
