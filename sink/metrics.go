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
	filled   prometheus.Counter
	lost     prometheus.Counter
	missing  prometheus.Gauge
	doubled  prometheus.Gauge
	held     prometheus.Gauge
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
		filled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_sink_filled_rows_total", Help: "Rows that a table lacked after a failure and was given, counted for each table.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_sink_lost_events_total", Help: "Events that the log had dropped before they were stored.",
		}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keypulse_sink_verify_missing", Help: "Rows that the last verification found missing, over all tables.",
		}),
		doubled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keypulse_sink_verify_doubled", Help: "Rows that the last verification found doubled, over all tables.",
		}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keypulse_sink_held_bytes", Help: "Memory of the rows that were read from the log and are not yet stored.",
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
	r.MustRegister(m.rows, m.actions, m.failures, m.filled, m.lost, m.missing, m.doubled, m.held, m.insert, m.lag)
	return m
}

// inserted reports one INSERT that succeeded.
func (m *metrics) inserted(b *batch, took time.Duration) {
	m.rows.Add(float64(b.rows))
	m.insert.Observe(took.Seconds())
	for _, block := range b.blocks {
		if n := len(block.rows); n > 0 {
			m.lag.Observe(time.Since(block.rows[n-1].CreatedAt.Time()).Seconds())
		}
	}
}
