package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics are the node's figures.
type metrics struct {
	accepted    prometheus.Counter
	refused     prometheus.Counter
	shed        prometheus.Counter
	duplicates  prometheus.Counter
	unevaluated prometheus.Counter
	verdictWait prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, buffered func() int64, limit func() (int64, bool)) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "keypulse_ingest_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		accepted:    counter("events_total", "Events that the log has acknowledged."),
		refused:     counter("refused_events_total", "Well-formed events that the log did not acknowledge."),
		shed:        counter("shed_requests_total", "Requests refused because more came than can be served."),
		duplicates:  counter("duplicates_total", "Events that were answered as sent before."),
		unevaluated: counter("unevaluated_events_total", "Events whose verdict did not come while their answer waited."),
		verdictWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keypulse_ingest_verdict_wait_seconds", Help: "From the log's acknowledgement to the verdict.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
	}
	r.MustRegister(m.verdictWait, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keypulse_ingest_buffered_bytes", Help: "Records that wait for their acknowledgement.",
	}, func() float64 { return float64(buffered()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keypulse_ingest_overload", Help: "1 while requests are refused because they take too long, else 0.",
	}, func() float64 {
		if _, overload := limit(); overload {
			return 1
		}
		return 0
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keypulse_ingest_requests_limit", Help: "Requests that may wait for the log's acknowledgement at once.",
	}, func() float64 {
		n, _ := limit()
		return float64(n)
	}))
	return m
}
