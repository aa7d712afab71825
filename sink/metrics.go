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
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "keypulse_sink_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "keypulse_sink_" + name, Help: help})
	}
	seconds := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "keypulse_sink_" + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		rows:     counter("rows_total", "Events stored."),
		actions:  counter("alert_actions_total", "Alert actions stored."),
		failures: counter("insert_failures_total", "INSERTs that failed and were sent again."),
		filled:   counter("filled_rows_total", "Rows that a table lacked after a failure and was given, counted for each table."),
		lost:     counter("lost_events_total", "Events that the log had dropped before they were stored."),
		missing:  gauge("verify_missing", "Rows that the last verification found missing, over all tables."),
		doubled:  gauge("verify_doubled", "Rows that the last verification found doubled, over all tables."),
		held:     gauge("held_bytes", "Memory of the rows that were read from the log and are not yet stored."),
		insert:   seconds("insert_seconds", "How long one INSERT took, rollups included.", prometheus.ExponentialBuckets(0.002, 2, 14)),
		lag:      seconds("lag_seconds", "How old the newest event of an INSERT was when it was stored.", prometheus.ExponentialBuckets(0.01, 2, 16)),
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
