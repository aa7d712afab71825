package peers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/streamaggr"
	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	batches   = 500
	batchSize = 200
	values    = 256 // different ones
)

// sample is one event as both see it, decoded.
type sample struct {
	key    uint64
	kind   string
	amount int
}

func samples(keys uint64) [][]sample {
	r := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(r, 1.2, 8, keys-1)
	kinds := []string{"signing_request", "signing_request", "signing_request", "key_access", "export", "policy_change"}
	list := make([][]sample, batches)
	for i := range list {
		for range batchSize {
			list[i] = append(list[i], sample{zipf.Uint64(), kinds[r.IntN(len(kinds))], r.IntN(values)})
		}
	}
	return list
}

// series are the batches as streamaggr takes them: a series for each sample.
func series(list [][]sample) [][]prompb.TimeSeries {
	now := time.Now().UnixMilli()
	out := make([][]prompb.TimeSeries, len(list))
	for i, batch := range list {
		for _, s := range batch {
			out[i] = append(out[i], prompb.TimeSeries{
				Labels: []prompb.Label{
					{Name: "__name__", Value: "amount_usd"},
					{Name: "event_type", Value: s.kind},
					{Name: "key_id", Value: keyID(s)},
					{Name: "tenant", Value: "demo"},
				},
				Samples: []prompb.Sample{{Value: float64(s.amount), Timestamp: now}},
			})
		}
	}
	return out
}

func keyID(s sample) string { return fmt.Sprint("signing-key-", s.key) }

// events are the batches as windows take them.
func events(list [][]sample) [][]schema.Event {
	out := make([][]schema.Event, len(list))
	for i, batch := range list {
		for _, s := range batch {
			out[i] = append(out[i], schema.Event{
				Tenant: "demo", KeyID: keyID(s), Type: s.kind, Severity: schema.Nominal, SourceIP: "10.0.0.1",
				Details: fmt.Appendf(nil, `{"amount_usd":%d}`, s.amount),
			})
		}
	}
	return out
}

// aggregators aggregate nothing but what is asked for, and are never flushed while they are measured.
func aggregators(b *testing.B) *streamaggr.Aggregators {
	const config = `
- match: amount_usd
  interval: 24h
  by: [tenant, key_id]
  outputs: [count_samples, sum_samples, unique_samples]
`
	a, err := streamaggr.LoadFromData([]byte(config), func([]prompb.TimeSeries) {}, &streamaggr.Options{}, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.MustStop)
	return a
}

func aggregates(b *testing.B) *rules.Set {
	p, err := rules.Compile(rules.Rule{
		ID: "r", Name: "r", Severity: schema.Warning, Enabled: true, Mode: rules.Live,
		When: `count("10m") > 1000000 && sum("10m", details.amount_usd) > 1 && distinct("10m", details.amount_usd) > 1`,
	})
	if err != nil {
		b.Fatal(err)
	}
	return rules.NewSet([]*rules.Program{p})
}

// BenchmarkStreamaggr compares count, sum and unique values by key. streamaggr keeps one number for each, until it flushes them;
// KeyPulse keeps a sliding window of ten minutes, exact up to a thousand events. Both take batches in turn; the ratio is that
// of the median batches.
func BenchmarkStreamaggr(b *testing.B) {
	for _, keys := range []uint64{100, 1000, 10_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) { compare(b, keys) })
	}
}

func compare(b *testing.B, keys uint64) {
	list := samples(keys)
	theirs, ours, a, set, windows := series(list), events(list), aggregators(b), aggregates(b), window.New(window.Config{})
	var matched []uint32
	at, n := schema.Millis(1_775_392_440_000), 0
	round := func() (peer, own time.Duration) {
		begin := time.Now()
		matched = a.Push(theirs[n%batches], matched)
		peer = time.Since(begin)
		batch := ours[n%batches]
		begin = time.Now()
		for i := range batch {
			at += schema.Millis(i & 1) // 2,000 events a second
			batch[i].CreatedAt = at
			windows.Observe(set, &batch[i])
		}
		n++
		return peer, time.Since(begin)
	}
	for range 10 * batches {
		round()
	}
	var ratios, peers, owns []float64
	for b.Loop() {
		peer, own := round()
		ratios = append(ratios, float64(peer)/float64(own))
		peers, owns = append(peers, float64(peer)/batchSize), append(owns, float64(own)/batchSize)
	}
	for _, l := range [][]float64{ratios, peers, owns} {
		slices.Sort(l)
	}
	b.ReportMetric(peers[len(peers)/2], "streamaggr-ns/event")
	b.ReportMetric(owns[len(owns)/2], "keypulse-ns/event")
	b.ReportMetric(ratios[len(ratios)/2], "streamaggr/keypulse")
	b.ReportMetric(0, "ns/op")
}
