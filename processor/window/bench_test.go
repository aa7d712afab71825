package window

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"keypulse/rules"
	"keypulse/schema"
)

// BenchmarkWindowObserve updates windows of many keys, chosen with a Zipf distribution, all of which have state, by events
// that touch every aggregate.
func BenchmarkWindowObserve(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		if keys > 1000 && testing.Short() {
			continue
		}
		for _, aggregates := range []int{1, 10, 50} {
			b.Run(fmt.Sprintf("keys=%d/aggregates=%d", keys, aggregates), func(b *testing.B) {
				benchmarkObserve(b, aggregates, keys)
			})
		}
	}
}

// benchAggregates returns n different aggregates of a mix of calls, in windows of different lengths.
func benchAggregates(n int) []string {
	kinds := []string{
		`count("%dm")`, `sum("%dm", details.amount_usd)`, `distinct("%dm", source_ip)`, `count("%dm", severity == "nominal")`,
		`avg("%dm", details.amount_usd)`, `max("%dm", details.amount_usd)`, `rate("%dm")`, `min("%dm", details.amount_usd)`,
		`first_seen("%dm", source_ip)`, `count("%dm", actor == "")`,
	}
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(kinds[i%len(kinds)], 10+i))
	}
	return list
}

func benchEvents(keys int) []schema.Event {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 1, uint64(keys-1))
	events := make([]schema.Event, 1<<17)
	for i := range events {
		events[i] = benchEvent(zipf.Uint64())
		events[i].Type = []string{"signing_request", "signing_request", "key_access", "export"}[r.IntN(4)]
		events[i].SourceIP = fmt.Sprintf("10.0.%d.%d", r.IntN(2), r.IntN(20))
		events[i].Details = fmt.Appendf(nil, `{"chain":"eth","amount_usd":%d.5}`, r.IntN(10_000))
	}
	return events
}

// benchEvent is an ordinary event of a key.
func benchEvent(key uint64) schema.Event {
	return schema.Event{
		Tenant: "acme", KeyID: fmt.Sprintf("key-%07d", key), Severity: schema.Nominal, Type: "signing_request",
		SourceIP: "10.0.0.1", Details: []byte(`{"chain":"eth","amount_usd":25.5}`), CreatedAt: start,
	}
}

func benchmarkObserve(b *testing.B, aggregates, keys int) {
	events := benchEvents(keys)
	set := newSet(b, "bench", benchAggregates(aggregates)...)
	store, at, i := New(Config{}), start, 0
	for k := range keys {
		e := benchEvent(uint64(k))
		store.Observe(set, &e)
	}
	observe := func() {
		e := &events[i&(len(events)-1)]
		i++
		at += schema.Millis(i & 1) // 2,000 events a second
		e.CreatedAt = at
		store.Observe(set, e)
	}
	for range events {
		observe()
	}
	b.ReportAllocs()
	for b.Loop() {
		observe()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*aggregates), "ns/aggregate")
}

// ratio runs two things in turn, a hundred times each in a round, and reports the median round's ratio of their times: a
// noisy machine disturbs some rounds, and both alike.
func ratio(b *testing.B, name string, one, other func()) {
	const each = 100
	timed := func(f func()) float64 {
		begin := time.Now()
		for range each {
			f()
		}
		return float64(time.Since(begin))
	}
	for range 1000 {
		timed(one)
		timed(other)
	}
	var ratios, ones, others []float64
	b.ReportAllocs()
	for b.Loop() {
		x, y := timed(one), timed(other)
		ratios, ones, others = append(ratios, y/x), append(ones, x/each), append(others, y/each)
	}
	for _, list := range [][]float64{ratios, ones, others} {
		slices.Sort(list)
	}
	b.ReportMetric(ones[len(ones)/2], "one-ns")
	b.ReportMetric(others[len(others)/2], "other-ns")
	b.ReportMetric(ratios[len(ratios)/2], name)
	b.ReportMetric(0, "ns/op")
}

// judging judges events by rules, windows included, again and again.
func judging(b *testing.B, whens []string) func() {
	var programs []*rules.Program
	for i, when := range whens {
		p, err := rules.Compile(rules.Rule{
			ID: fmt.Sprint("r", i), Name: "r", When: when, Severity: schema.Warning, Enabled: true, Mode: rules.Live,
		})
		if err != nil {
			b.Fatal(err)
		}
		programs = append(programs, p)
	}
	events, set, store, at, i := benchEvents(1000), rules.NewSet(programs), New(Config{}), start, 0
	return func() {
		e := &events[i&(len(events)-1)]
		i++
		at += schema.Millis(i & 1)
		e.CreatedAt = at
		_, values := store.Observe(set, e)
		set.Eval(e, values, func(*rules.Program) {})
	}
}

// BenchmarkSharedAggregates compares ten rules, all of which can hold for every event, with one, over the same three
// aggregates.
func BenchmarkSharedAggregates(b *testing.B) {
	var whens []string
	for i := range 10 {
		whens = append(whens, fmt.Sprintf(`count("10m") > %d && sum("10m", details.amount_usd) > %d && distinct("10m", source_ip) > %d`, i, i, 1_000_000+i))
	}
	ratio(b, "ten/one", judging(b, whens[:1]), judging(b, whens))
}

// BenchmarkIdleAggregates compares 500 aggregates, of which an event touches one, with that one alone.
func BenchmarkIdleAggregates(b *testing.B) {
	list := []string{`count("10m", event_type == "signing_request")`}
	for i := range rules.MaxAggregates - 1 {
		list = append(list, fmt.Sprintf(`count("10m", event_type == "type-%d")`, i))
	}
	touching := func(list []string) func() {
		set, store, e := newSet(b, "bench", list...), New(Config{}), benchEvent(1)
		return func() {
			e.CreatedAt++
			_, values := store.Observe(set, &e)
			values.At(0)
		}
	}
	ratio(b, "idle/none", touching(list[:1]), touching(list))
}

// BenchmarkCrowded has one key whose windows hold far more than is exact.
func BenchmarkCrowded(b *testing.B) {
	for _, aggregate := range []string{`count("1h")`, `sum("1h", details.v)`, `stddev("1h", details.v)`, `distinct("1h", source_ip)`, `first_seen("1h", source_ip)`} {
		b.Run(aggregate, func(b *testing.B) {
			set, store := newSet(b, "bench", aggregate), New(Config{})
			e := schema.Event{Tenant: "acme", KeyID: "k", Type: "t", Severity: schema.Nominal, CreatedAt: start, Details: []byte(`{"v": 12.5}`)}
			ips := make([]string, 1<<14)
			for i := range ips {
				ips[i] = fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				e.CreatedAt += schema.Millis(i & 1)
				e.SourceIP = ips[i&(len(ips)-1)]
				_, values := store.Observe(set, &e)
				values.At(0)
			}
		})
	}
}

// BenchmarkRestore applies what many keys with three aggregates were written as, as a restart does.
func BenchmarkRestore(b *testing.B) {
	const keys = 300_000
	set := newSet(b, "bench", `count("24h")`, `sum("24h", details.amount_usd)`, `distinct("24h", source_ip)`)
	written := New(Config{TrackChanges: true})
	defer written.Close()
	var bodies [][]byte
	for i := range 2 * keys {
		e := benchEvent(uint64(i % keys))
		e.CreatedAt += schema.Millis(i)
		e.SourceIP = fmt.Sprint("10.0.0.", i/keys)
		written.Observe(set, &e)
		if i%20_000 == 0 {
			body, _ := written.AppendChanges(nil)
			bodies = append(bodies, body)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := New(Config{TrackChanges: true})
		for _, body := range bodies {
			if err := s.ApplyChanges(body); err != nil {
				b.Fatal(err)
			}
		}
		s.FinishChanges()
		s.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
}
