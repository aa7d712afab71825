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

// leastWindows is the least that an exact window needs of an event: to find its key, to read the amount out of its details, and to keep
// both that and the time until the window ends, of which the last thousand are enough. It aggregates nothing.
type leastWindows map[string]*[1024]struct {
	at     uint32
	amount float64
}

func (f leastWindows) observe(e *schema.Event, n int) {
	key := f[e.KeyID]
	if key == nil {
		key = new([1024]struct {
			at     uint32
			amount float64
		})
		f[e.KeyID] = key
	}
	digits := e.Details[len(`{"amount_usd":`) : len(e.Details)-1]
	amount := 0
	for _, d := range digits {
		amount = 10*amount + int(d-'0')
	}
	key[n%len(key)].at, key[n%len(key)].amount = uint32(e.CreatedAt), float64(amount)
}

// BenchmarkStreamaggr compares the CPU time of count, sum and unique values by key. streamaggr keeps one number for each, until it
// flushes them; KeyPulse keeps a sliding window of ten minutes, exact up to a thousand events, and reads the amount out of the
// event's details, which streamaggr gets as a float. Both take batches in turn on one thread. What other threads do is
// streamaggr's: its flushes, whose results nobody takes, and the collector, for KeyPulse allocates nothing. Read is what it takes
// KeyPulse to say all three values after each event, which streamaggr does not.
func BenchmarkStreamaggr(b *testing.B) {
	for _, interval := range []string{"24h", "1s"} {
		for _, keys := range []uint64{100, 1000, 10_000} {
			b.Run(fmt.Sprint("flush=", interval, "/keys=", keys), func(b *testing.B) { compare(b, keys, interval) })
		}
	}
}

// lookAhead is how many events the partition's loop decodes at once.
const lookAhead = 16

func compare(b *testing.B, keys uint64, interval string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	list := samples(keys)
	theirs, ours, a, set := series(list), events(list), aggregators(b, interval), aggregates(b)
	windows, read, least := window.New(window.Config{}), window.New(window.Config{}), leastWindows{}
	defer windows.Close()
	defer read.Close()
	var matched []uint32
	at, n := schema.Millis(1_775_392_440_000), 0
	var own, reading, bare time.Duration
	round := func() {
		matched = a.Push(theirs[n%batches], matched)
		batch := ours[n%batches]
		for i := range batch {
			at += schema.Millis(i & 1) // 2,000 events a second
			batch[i].CreatedAt = at
		}
		begin := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
		observe(windows, set, batch, 0)
		updated := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
		observe(read, set, batch, len(set.Aggregates()))
		said := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
		for i := range batch {
			least.observe(&batch[i], n*batchSize+i)
		}
		n++
		own, reading, bare = own+updated-begin, reading+said-updated, bare+cpu(unix.CLOCK_THREAD_CPUTIME_ID)-said
	}
	for range 10 * batches {
		round()
	}
	runtime.GC()
	own, reading, bare = 0, 0, 0
	begin := cpu(unix.CLOCK_PROCESS_CPUTIME_ID)
	for b.Loop() {
		round()
	}
	peer := cpu(unix.CLOCK_PROCESS_CPUTIME_ID) - begin - own - reading - bare
	perEvent := func(d time.Duration) float64 { return float64(d) / float64(b.N*batchSize) }
	b.ReportMetric(perEvent(peer), "streamaggr-ns/event")
	b.ReportMetric(perEvent(own), "keypulse-ns/event")
	b.ReportMetric(perEvent(reading), "read-ns/event")
	b.ReportMetric(perEvent(bare), "floor-ns/event")
	b.ReportMetric(float64(peer)/float64(own), "streamaggr/keypulse")
	b.ReportMetric(float64(peer)/float64(bare), "streamaggr/floor")
	b.ReportMetric(0, "ns/op")
}

// observe lets the windows count a batch, and reads so many of the aggregates after each event.
func observe(windows *window.Store, set *rules.Set, batch []schema.Event, read int) {
	for i := range batch {
		if i%lookAhead == 0 {
			windows.Expect(batch[i:min(i+lookAhead, len(batch))])
		}
		_, values := windows.Observe(set, &batch[i])
		for j := range read {
			values.At(j)
		}
	}
}

// cpu is the CPU time that a clock of the kernel has counted.
func cpu(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
