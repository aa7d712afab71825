package bench

import (
	"fmt"
	"strconv"

	"keypulse/schema"
)

// tailCount is how many different events there are but for their key: enough that no cache of the server sees one
// event again and again, few enough (about 1 MiB) to encode before the run.
const tailCount = 4096

// probeType is the event type that the run's own rule looks for.
const probeType = "bench_probe"

// generator makes the bodies of requests. After newGenerator it is read only, and any goroutine may use it.
type generator struct {
	seed       uint64
	keys       zipf
	batch      int
	alertEvery int64    // 0 = no probes
	tails      [][]byte // what follows the key_id, encoded
	probeTail  []byte
}

func newGenerator(cfg *Config) *generator {
	g := &generator{seed: cfg.Seed, keys: newZipf(cfg.Keys, cfg.Skew), batch: cfg.Batch}
	if cfg.Alerts {
		g.alertEvery = int64(cfg.AlertEvery)
	}
	r := newRandom(cfg.Seed, phaseTails, 0)
	g.tails = make([][]byte, tailCount)
	for i := range g.tails {
		g.tails[i] = appendTail(nil, &r, pick(&r, eventTypes[:]))
	}
	g.probeTail = appendTail(nil, &r, probeType)
	return g
}

// The numbers of the random streams; each phase of a run has its own.
const (
	phaseTails uint64 = iota
	phaseSetUp
	phaseWarmUp
	phaseMeasured
)

// isProbe says whether event i of a phase is a probe.
func (g *generator) isProbe(i int64) bool { return g.alertEvery > 0 && (i+1)%g.alertEvery == 0 }

// appendBody appends the body of a slot's request to b: one event, or a batch of size events when the run's batch is
// above 1. Equal arguments give equal bodies.
func (g *generator) appendBody(b []byte, phase uint64, slot int64, size int) []byte {
	r := newRandom(g.seed, phase, uint64(slot))
	first := slot * int64(g.batch)
	if g.batch == 1 {
		return g.appendEvent(b, &r, g.isProbe(first))
	}
	b = append(b, `{"events":[`...)
	for i := range size {
		if i > 0 {
			b = append(b, ',')
		}
		b = g.appendEvent(b, &r, g.isProbe(first+int64(i)))
	}
	return append(b, `]}`...)
}

func (g *generator) appendEvent(b []byte, r *random, probe bool) []byte {
	b = append(b, `{"key_id":"bench-key-`...)
	b = strconv.AppendInt(b, int64(g.keys.rank(r)), 10)
	tail := g.tails[r.below(len(g.tails))]
	if probe {
		tail = g.probeTail
	}
	return append(b, tail...)
}

// weighted is a value and its share of a hundred.
type weighted struct {
	value   string
	percent int
}

var eventTypes = [...]weighted{
	{"signing_request", 70}, {"key_access", 18}, {"export", 4}, {"rotation", 3}, {"policy_change", 2}, {"attestation_check", 3},
}

var severities = [...]weighted{
	{schema.Nominal.String(), 90}, {schema.Warning.String(), 8}, {schema.Critical.String(), 2},
}

var actors = [...]string{
	"service-account@treasury.example", "payments-gateway@treasury.example", "settlement-batch", "hsm-operator-2",
	"alice@treasury.example", "bob@treasury.example", "rotation-cron", "compliance-export@treasury.example",
}

func pick(r *random, from []weighted) string {
	n := r.below(100)
	for _, w := range from {
		if n -= w.percent; n < 0 {
			return w.value
		}
	}
	panic("BUG: the shares are below a hundred")
}

// appendTail appends an event's members after key_id, with the quote that ends key_id and the brace that ends the event.
func appendTail(b []byte, r *random, eventType string) []byte {
	severity := schema.Nominal.String()
	if eventType != probeType {
		severity = pick(r, severities[:])
	}
	b = fmt.Appendf(b, `","event_type":"%s","severity":"%s","source_ip":"%s"`, eventType, severity, sourceIP(r))
	b = fmt.Appendf(b, `,"actor":"%s"`, actors[r.below(len(actors))])
	b = fmt.Appendf(b, `,"details":{"amount_usd":%s,"destination":"0x%016x%016x%08x","attempt":%d}}`,
		amount(r), r.next(), r.next(), uint32(r.next()), 1+r.below(3))
	return b
}

// sourceIP is an address of a private network, of a documentation range, or one in ten of IPv6.
func sourceIP(r *random) string {
	switch n := r.below(10); {
	case n < 6:
		return fmt.Sprintf("10.%d.%d.%d", r.below(4), r.below(256), 1+r.below(254))
	case n < 9:
		return fmt.Sprintf("203.0.113.%d", 1+r.below(254))
	default:
		return fmt.Sprintf("2001:db8::%x", 1+r.below(0xffff))
	}
}

// amount is in dollars and cents, its magnitude spread evenly from tens of cents to a million dollars.
func amount(r *random) string {
	magnitude := 10
	for range r.below(7) {
		magnitude *= 10
	}
	cents := magnitude + r.below(9*magnitude)
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}
