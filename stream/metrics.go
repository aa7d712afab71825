package stream

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	rows   prometheus.Counter
	missed prometheus.Counter
}

func newMetrics(r prometheus.Registerer, subscribers func() float64) *metrics {
	m := &metrics{
		rows:   prometheus.NewCounter(prometheus.CounterOpts{Name: "keypulse_stream_rows_total", Help: "Rows of the log that were looked at for subscribers."}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: "keypulse_stream_missed_total", Help: "Frames that were left out because a subscriber did not read."}),
	}
	r.MustRegister(m.rows, m.missed, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "keypulse_stream_subscribers", Help: "Who watches the stream on this node."}, subscribers,
	))
	return m
}
