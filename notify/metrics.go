package notify

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	relayed  prometheus.Counter
	notices  *prometheus.CounterVec // by kind
	gathered prometheus.Counter
	hidden   prometheus.Counter
	attempts *prometheus.CounterVec // by outcome
	inDoubt  prometheus.Counter
	pending  *prometheus.GaugeVec // by partition of the notices
	held     prometheus.Counter
	expired  prometheus.Counter
	restarts prometheus.Counter
	delay    prometheus.Histogram
}

// The outcomes of attempts.
const (
	outcomeDelivered = "delivered"
	outcomeRetried   = "retried"
	outcomeFailed    = "failed"
	outcomeCut       = "cut" // this node stopped before the answer: its successor tries again
)

func newMetrics(r prometheus.Registerer, n *Notifier) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "keypulse_notifier_" + name, Help: help})
	}
	m := &metrics{
		relayed:  counter("relayed_total", "Alerts that were found in the log and written to the notices."),
		notices:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keypulse_notifier_notices_total", Help: "Notices that were read, by kind."}, []string{"kind"}),
		gathered: counter("gathered_total", "Alerts that wait for a digest, once for each webhook, because too many came at once."),
		hidden:   counter("hidden_total", "Alerts that a silence hid."),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keypulse_notifier_attempts_total", Help: "Attempts to deliver, by what became of the message."}, []string{"outcome"}),
		inDoubt:  counter("in_doubt_total", "Messages that another node, or this one before its start, may have sent already: they are sent again under the same id."),
		pending:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keypulse_notifier_pending", Help: "Messages that wait in the outbox, by partition of the notices."}, []string{"partition"}),
		held:     counter("held_total", "Times that a message waited because this node had as many on their way as it may."),
		expired:  counter("expired_notices_total", "Notices that retention dropped before a notifier read them."),
		restarts: counter("restarts_total", "Times that a partition began again from the log after a failure."),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keypulse_notifier_delivery_seconds", Help: "From an alert's time to the answer of the target that took its message.",
			Buckets: []float64{.005, .01, .02, .05, .1, .25, .5, 1, 5, 30, 60, 300, 1800, 7200, 86400},
		}),
	}
	inFlight := func(state string, b *budget) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keypulse_notifier_in_flight", Help: "Messages on their way, by whether their webhook took the last one.", ConstLabels: prometheus.Labels{"webhook": state},
		}, func() float64 { return float64(b.taken.Load()) })
	}
	if r != nil {
		r.MustRegister(m.relayed, m.notices, m.gathered, m.hidden, m.attempts, m.inDoubt, m.pending, m.held, m.expired, m.restarts, m.delay,
			inFlight("working", &n.working), inFlight("failing", &n.failing))
	}
	return m
}
