package window

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"keypulse/rules"
	"keypulse/schema"
)

// BenchmarkWindowObserve updates windows of many keys, chosen with a Zipf distribution, and reads each value that a
// rule would read.
func BenchmarkWindowObserve(b *testing.B) {
	for _, aggregates := range []int{1, 3, 10} {
		for _, keys := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("aggregates=%d/keys=%d", aggregates, keys), func(b *testing.B) {
				benchmarkObserve(b, aggregates, keys)
			})
		}
	}
}

func benchAggregates(n int) []string {
	kinds := []string{
		`count("10m", event_type == "signing_request")`, `sum("10m", details.amount_usd)`, `distinct("10m", source_ip)`,
		`count("1h")`, `avg("1h", details.amount_usd)`, `max("1h", details.amount_usd)`, `rate("1m")`,
		`since_last(event_type == "signing_request")`, `first_seen("1d", source_ip)`, `count("1d", event_type == "signing_request")`,
	}
	return kinds[:n]
}

func benchEvents(keys int) []schema.Event {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 1, uint64(keys-1))
	events := make([]schema.Event, 1<<17)
	for i := range events {
		events[i] = schema.Event{
			Tenant: "acme", KeyID: fmt.Sprintf("key-%06d", zipf.Uint64()), Severity: schema.Nominal,
			Type:     []string{"signing_request", "signing_request", "key_access", "export"}[r.IntN(4)],
			SourceIP: fmt.Sprintf("10.0.%d.%d", r.IntN(2), r.IntN(20)),
			Details:  fmt.Appendf(nil, `{"chain":"eth","amount_usd":%d.5}`, r.IntN(10_000)),
		}
	}
	return events
}

func benchmarkObserve(b *testing.B, aggregates, keys int) {
	events := benchEvents(keys)
	set := newSet(b, "bench", benchAggregates(aggregates)...)
	store, at, i := New(Config{}), start, 0
	observe := func() rules.Values {
		e := &events[i&(len(events)-1)]
		i++
		at += schema.Millis(i & 1) // 2,000 events a second
		e.CreatedAt = at
		_, values := store.Observe(set, e)
		return values
	}
	for range events {
		observe()
	}
	b.ReportAllocs()
	for b.Loop() {
		values := observe()
		for n := range aggregates {
			values.At(n)
		}
	}
}

// BenchmarkObserveAndEval judges events: windows and rules together.
func BenchmarkObserveAndEval(b *testing.B) {
	one := []string{`event_type == "signing_request" && count("10m", event_type == "signing_request") > 1000000 && sum("10m", details.amount_usd) > 1 && distinct("10m", source_ip) > 1`}
	ten := one
	for i := range 9 {
		ten = append(ten, fmt.Sprintf(`event_type == "signing_request" && count("%dm") > 1000000 && sum("10m", details.amount_usd) > %d`, 11+i, i))
	}
	for name, list := range map[string][]string{"rules=1,aggregates=3": one, "rules=10,aggregates=12": ten} {
		b.Run(name, func(b *testing.B) {
			var programs []*rules.Program
			for i, when := range list {
				p, err := rules.Compile(rules.Rule{
					ID: fmt.Sprint("r", i), Name: "r", When: when, Severity: schema.Warning, Enabled: true, Mode: rules.Live,
				})
				if err != nil {
					b.Fatal(err)
				}
				programs = append(programs, p)
			}
			events, set, store, at, i := benchEvents(1000), rules.NewSet(programs), New(Config{}), start, 0
			b.ReportAllocs()
			for b.Loop() {
				e := &events[i&(len(events)-1)]
				i++
				at += schema.Millis(i & 1)
				e.CreatedAt = at
				_, values := store.Observe(set, e)
				set.Eval(e, values, func(*rules.Program) {})
			}
		})
	}
}

// BenchmarkIdleAggregates has 500 aggregates, of which an event touches one.
func BenchmarkIdleAggregates(b *testing.B) {
	list := []string{`count("10m", event_type == "signing_request")`}
	for i := range rules.MaxAggregates - 1 {
		list = append(list, fmt.Sprintf(`count("10m", event_type == "type-%d")`, i))
	}
	set, store := newSet(b, "bench", list...), New(Config{})
	e := schema.Event{Tenant: "acme", KeyID: "k", Type: "signing_request", Severity: schema.Nominal, CreatedAt: start}
	b.ReportAllocs()
	for b.Loop() {
		e.CreatedAt++
		_, values := store.Observe(set, &e)
		values.At(0)
	}
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

// BenchmarkColdKeys reports what a million keys with up to four events each cost.
func BenchmarkColdKeys(b *testing.B) {
	for _, aggregates := range []int{1, 2, 10} {
		b.Run(fmt.Sprint(aggregates), func(b *testing.B) {
			set := newSet(b, "bench", benchAggregates(aggregates)...)
			for b.Loop() {
				const keys = 100_000
				store := New(Config{})
				for i := range 2 * keys {
					e := schema.Event{
						Tenant: "acme", KeyID: fmt.Sprintf("key-%06d", i%keys), Type: "signing_request", Severity: schema.Nominal,
						SourceIP: "10.0.0.1", CreatedAt: start + schema.Millis(i/1000), Details: []byte(`{"amount_usd": 5}`),
					}
					store.Observe(set, &e)
				}
				b.ReportMetric(float64(store.Bytes())/keys, "bytes/key")
			}
		})
	}
}
