package httpapi

import (
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// metrics are those of a server's requests.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	unlogged  prometheus.Counter
	overloads *prometheus.CounterVec
	labels    sync.Map // from a route's path, as Fiber has it, to its label
}

// NewRegistry makes a registry with the metrics of Go and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		registry: registry,
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keypulse_http_request_duration_seconds",
			Help:    "Time from a request's last byte read to its answer made, by method, route pattern and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route", "status"}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_http_unlogged_refusals_total",
			Help: "Answers 401, 403, 429 and 503 overloaded that have no line in the log, because there were too many of them in a second.",
		}),
		overloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keypulse_http_overloads_total",
			Help: "What was turned away, by reason. bytes: requests whose body did not fit beside the others; connections: requests on connections over the limit; closed: connections far over the limit, without an answer.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"bytes", "connections", "closed"} {
		m.overloads.WithLabelValues(reason)
	}
	registry.MustRegister(m.requests, m.unlogged, m.overloads)
	return m
}

// watch shows how much there is of what has a bound.
func (m *metrics) watch(bodies *budget, conns *connSet) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keypulse_http_body_bytes", Help: "Bytes that bodies of requests take, or may still come to take, in memory.",
		}, func() float64 { return float64(bodies.held.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keypulse_http_connections", Help: "Open connections.",
		}, func() float64 { return float64(conns.count()) }),
	)
}

// observe counts one request. What clients can choose freely never becomes a label.
func (m *metrics) observe(method, route string, status int, took time.Duration) {
	if i := slices.Index(fiber.DefaultMethods, method); i >= 0 {
		method = fiber.DefaultMethods[i] // not the request's buffer: the label lives on
	} else {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// fiberParam is a parameter in a route's path, e.g. ":id<int>".
var fiberParam = regexp.MustCompile(`:(\w+)(<[^>]*>)?\??`)

// routeLabel writes a route's path as OpenAPI does: /api/events/{id}. There are as many as there are routes.
func (m *metrics) routeLabel(path string) string {
	if label, ok := m.labels.Load(path); ok {
		return label.(string)
	}
	label := fiberParam.ReplaceAllString(path, "{$1}")
	m.labels.Store(path, label)
	return label
}

// handler shows the registry in Prometheus' text format.
func (m *metrics) handler() fiber.Handler {
	h := fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return func(c *fiber.Ctx) error {
		h(c.Context())
		return nil
	}
}
