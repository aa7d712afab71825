package processor

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// metrics are the processor's figures, each by partition where it says so.
type metrics struct {
	events      *prometheus.CounterVec
	duplicates  *prometheus.CounterVec
	alerts      *prometheus.CounterVec
	hits        *prometheus.CounterVec
	shadowHits  *prometheus.CounterVec
	ruleErrors  *prometheus.CounterVec
	rules       *ruleMetrics
	lag         *prometheus.GaugeVec
	keys        *prometheus.GaugeVec
	reach       *prometheus.GaugeVec
	undecodable prometheus.Counter
	unread      prometheus.Counter

	checkpoint      prometheus.Histogram
	checkpointBytes prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keypulse_processor_" + name, Help: help}, []string{"partition"})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keypulse_processor_" + name, Help: help}, []string{"partition"})
		r.MustRegister(g)
		return g
	}
	m := &metrics{
		events:     counter("events_total", "Events judged, those of a replay included."),
		duplicates: counter("duplicates_total", "Events that a client had sent before, those of a replay included."),
		alerts:     counter("alerts_total", "Alerts raised, those of a replay included."),
		hits:       counter("hits_total", "Hits that counted on an alert, those of a replay included."),
		shadowHits: counter("shadow_hits_total", "Hits of rules in shadow mode."),
		ruleErrors: counter("rule_errors_total", "Rules that failed at run time."),
		lag:        gauge("lag_events", "Events in the log that are not judged yet."),
		reach:      gauge("dedup_reach_seconds", "How far back every event_id is remembered; less than a day when there are too many."),
		keys:       gauge("keys", "Keys with window state."),
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_processor_undecodable_total", Help: "Events of the log that could not be decoded.",
		}),
	}
	m.unread = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keypulse_processor_unread_total", Help: "Events that expired from the log before they were read.",
	})
	m.checkpoint = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "keypulse_processor_checkpoint_seconds", Help: "How long writing a cut of a checkpoint took; no event waits for it.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	})
	m.rules = newRuleMetrics(r)
	m.checkpointBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keypulse_processor_checkpoint_bytes_total", Help: "Bytes of checkpoints written.",
	})
	r.MustRegister(m.undecodable, m.unread, m.checkpoint, m.checkpointBytes)
	return m
}

// expired reports that events from..to-1 were gone before they were read.
func (m *metrics) expired(log *zap.Logger, from, to int64) {
	m.unread.Add(float64(to - from))
	log.Error("events have expired before they were read: windows are incomplete", zap.Int64("from", from), zap.Int64("to", to-1))
}

// forget drops the gauges of a partition that is no longer owned.
func (m *metrics) forget(p *partition) {
	label := strconv.Itoa(int(p.number))
	for _, g := range []*prometheus.GaugeVec{m.lag, m.keys, m.reach} {
		g.DeleteLabelValues(label)
	}
}

// observe reports what a partition has done since the last call.
func (m *metrics) observe(p *partition) {
	label := strconv.Itoa(int(p.number))
	c := p.judge.Counts()
	m.events.WithLabelValues(label).Add(float64(c.Events - p.reported.Events))
	m.duplicates.WithLabelValues(label).Add(float64(c.Duplicates - p.reported.Duplicates))
	m.alerts.WithLabelValues(label).Add(float64(c.Alerts - p.reported.Alerts))
	m.hits.WithLabelValues(label).Add(float64(c.Hits - p.reported.Hits))
	m.shadowHits.WithLabelValues(label).Add(float64(c.ShadowHits - p.reported.ShadowHits))
	m.ruleErrors.WithLabelValues(label).Add(float64(c.RuleErrors - p.reported.RuleErrors))
	p.reported = c
	m.lag.WithLabelValues(label).Set(float64(p.reader.End() - p.reader.Next()))
	m.reach.WithLabelValues(label).Set(float64(p.judge.Reach()) / 1000)
	m.keys.WithLabelValues(label).Set(float64(p.judge.Keys()))
}
