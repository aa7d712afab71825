package peers

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/streamaggr"
	"golang.org/x/sys/unix"
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

// aggregators aggregate nothing but what is asked for, and flush it every interval.
func aggregators(b *testing.B, interval string) *streamaggr.Aggregators {
	config := "- match: amount_usd\n  interval: " + interval + "\n  by: [tenant, key_id]\n  outputs: [count_samples, sum_samples, unique_samples]\n"
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

// BenchmarkStreamaggr compares the CPU time of count, sum and unique values by key. streamaggr keeps one number for each, until it
// flushes them; KeyPulse keeps a sliding window of ten minutes, exact up to a thousand events, and reads the amount out of the
// event's details, which streamaggr gets as a float. Both take batches in turn on one thread. What other threads do is
// streamaggr's: its flushes, whose results nobody takes, and the collector, for KeyPulse allocates nothing.
func BenchmarkStreamaggr(b *testing.B) {
	for _, interval := range []string{"24h", "1s"} {
		for _, keys := range []uint64{100, 1000, 10_000} {
			b.Run(fmt.Sprint("flush=", interval, "/keys=", keys), func(b *testing.B) { compare(b, keys, interval) })
		}
	}
}

func compare(b *testing.B, keys uint64, interval string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	list := samples(keys)
	theirs, ours, a, set, windows := series(list), events(list), aggregators(b, interval), aggregates(b), window.New(window.Config{})
	defer windows.Close()
	var matched []uint32
	at, n := schema.Millis(1_775_392_440_000), 0
	round := func() (own time.Duration) {
		matched = a.Push(theirs[n%batches], matched)
		begin := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
		batch := ours[n%batches]
		for i := range batch {
			at += schema.Millis(i & 1) // 2,000 events a second
			batch[i].CreatedAt = at
			windows.Observe(set, &batch[i])
		}
		n++
		return cpu(unix.CLOCK_THREAD_CPUTIME_ID) - begin
	}
	for range 10 * batches {
		round()
	}
	runtime.GC()
	var own time.Duration
	begin := cpu(unix.CLOCK_PROCESS_CPUTIME_ID)
	for b.Loop() {
		own += round()
	}
	peer := cpu(unix.CLOCK_PROCESS_CPUTIME_ID) - begin - own
	b.ReportMetric(float64(peer)/float64(b.N*batchSize), "streamaggr-ns/event")
	b.ReportMetric(float64(own)/float64(b.N*batchSize), "keypulse-ns/event")
	b.ReportMetric(float64(peer)/float64(own), "streamaggr/keypulse")
	b.ReportMetric(0, "ns/op")
}

// cpu is the CPU time that a clock of the kernel has counted.
func cpu(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
