package processor

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"keypulse/schema"
)

// ruleSeries bounds how many rules of a process have series of their own: the first that hit or fail. All others are one, without
// tenant and rule. The figures of every rule are in ClickHouse and in the API.
const ruleSeries = 500

// ruleMetrics are figures by rule.
type ruleMetrics struct {
	hits, shadow, errors *prometheus.CounterVec

	mu sync.Mutex
	// guards the following
	known map[ruleName]bool
}

type ruleName struct {
	tenant schema.Tenant
	rule   string
}

func newRuleMetrics(r prometheus.Registerer) *ruleMetrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keypulse_rule_" + name, Help: help + " Rules beyond the first 500 are one series without names.",
		}, []string{"tenant", "rule"})
		r.MustRegister(c)
		return c
	}
	return &ruleMetrics{
		hits:   counter("hits_total", "Hits of a rule in live mode."),
		shadow: counter("shadow_hits_total", "Hits of a rule in shadow mode."),
		errors: counter("errors_total", "How often a rule failed at run time."),
		known:  map[ruleName]bool{},
	}
}

// told takes in what a verdict has told of a rule.
func (m *metrics) told(before, now *schema.RuleCounts) {
	labels := m.rules.labels(ruleName{now.Tenant, now.RuleID})
	add := func(c *prometheus.CounterVec, n int64) {
		if n > 0 {
			c.WithLabelValues(string(labels.tenant), labels.rule).Add(float64(n))
		}
	}
	add(m.rules.hits, now.Hits-before.Hits)
	add(m.rules.shadow, now.Shadow-before.Shadow)
	add(m.rules.errors, now.Errors-before.Errors)
}

// labels are the names that a rule has in the metrics.
func (m *ruleMetrics) labels(name ruleName) ruleName {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known[name] {
		if len(m.known) >= ruleSeries {
			return ruleName{}
		}
		m.known[name] = true
	}
	return name
}
