package sink

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the sink's figures.
type metrics struct {
	rows     prometheus.Counter
	actions  prometheus.Counter
	failures prometheus.Counter
	insert   prometheus.Histogram
	lag      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_sink_rows_total", Help: "Events stored.",
		}),
		actions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_sink_alert_actions_total", Help: "Alert actions stored.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_sink_insert_failures_total", Help: "INSERTs that failed and were sent again.",
		}),
		insert: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keypulse_sink_insert_seconds", Help: "How long one INSERT took, rollups included.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keypulse_sink_lag_seconds", Help: "How old the newest event of an INSERT was when it was stored.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 16),
		}),
	}
	r.MustRegister(m.rows, m.actions, m.failures, m.insert, m.lag)
	return m
}

// inserted reports one INSERT that succeeded.
func (m *metrics) inserted(rows int64, took time.Duration, blocks []block) {
	m.rows.Add(float64(rows))
	m.insert.Observe(took.Seconds())
	for _, b := range blocks {
		if n := len(b.rows); n > 0 {
			m.lag.Observe(time.Since(b.rows[n-1].CreatedAt.Time()).Seconds())
		}
	}
}
