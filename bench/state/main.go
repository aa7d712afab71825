// Command state measures what the state of many keys costs a whole process: memory for a key, and the garbage collector's
// share of CPU time while events go on.
//
// It keeps judges as a processor with 8 partitions does, each with its cuts of checkpoints, and judges events that it makes
// itself. Its figures are in docs/benchmarks.md.
//
//	go run ./bench/state -keys 1000000 -aggregates 12
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"time"
	"unsafe"

	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	partitions = 8
	cutEvery   = 5_000 // events of a partition: what it judges at most in a tenth of a second, when all run at full speed
)

// aggregates are touched by every event; two of them are a small rule's, all twelve a large tenant's.
var aggregates = []string{
	`count("10m")`, `sum("10m", details.amount_usd)`, `distinct("10m", source_ip)`, `count("1h", severity == "nominal")`,
	`max("1h", details.amount_usd)`, `avg("15m", details.amount_usd)`, `count("24h", event_type != "export")`, `rate("1m")`,
	`first_seen("24h", source_ip)`, `sum("24h", details.amount_usd)`, `distinct("1h", actor)`, `since_last(event_type != "export")`,
}

func main() {
	keys := flag.Int("keys", 1_000_000, "keys with state")
	n := flag.Int("aggregates", len(aggregates), "aggregates of each key, at most 12")
	run := flag.Duration("run", 10*time.Second, "how long to go on judging for the share of the garbage collector")
	flag.Parse()
	if err := measure(*keys, aggregates[:*n], *run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(keys int, aggregates []string, run time.Duration) error {
	book, err := bookOf(aggregates)
	if err != nil {
		return err
	}
	w := newWorld(book)
	before := resident()
	w.fill(keys)
	filled := resident()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("%d keys, %d aggregates, 1 to 4 events\n", w.held(), len(aggregates))
	fmt.Printf("process    %6.0f bytes/key (resident; %d MiB before)\n", float64(filled)/float64(keys), before>>20)
	fmt.Printf("live heap  %6.0f bytes/key\n", float64(m.HeapAlloc)/float64(keys))
	gc, all := cpuSeconds()
	events := 0
	for begin := time.Now(); time.Since(begin) < run; events += 10_000 {
		for range 10_000 {
			w.event(w.random.IntN(keys))
		}
	}
	share := 0.0
	if gcAfter, allAfter := cpuSeconds(); allAfter > all {
		share = 100 * (gcAfter - gc) / (allAfter - all)
	}
	fmt.Printf("then %d events: gc %.2f %% of CPU, process %.0f bytes/key\n", events, share, float64(resident())/float64(keys))
	return nil
}

// bookOf is a book with one rule of the tenant for each aggregate.
func bookOf(aggregates []string) (*rules.Book, error) {
	book := rules.NewBook()
	for i, a := range aggregates {
		id := fmt.Sprint("rule-", i)
		text, err := json.Marshal(map[string]any{"id": id, "name": id, "when": "(" + a + ") == -1", "severity": "critical"})
		if err != nil {
			return nil, fmt.Errorf("encode rule: %w", err)
		}
		value, err := json.Marshal(schema.RuleRecord{Tenant: "demo", ID: id, Version: 1, Rule: text, By: "bench"})
		if err != nil {
			return nil, fmt.Errorf("encode rule: %w", err)
		}
		if err := book.Apply(int64(i), schema.RecordKey("demo", id), value); err != nil {
			return nil, fmt.Errorf("apply rule: %w", err)
		}
	}
	return book, nil
}

// world is the judges of all partitions.
type world struct {
	random *rand.Rand
	judges [partitions]*judge.Judge
	next   [partitions]int64
	bodies [partitions][]byte // of the last cuts
	chunks [partitions][]byte // their copies, as the records of the state topic
	rev    int64
	now    schema.Millis
	keyID  []byte // of the event at hand
}

func newWorld(book *rules.Book) *world {
	w := &world{random: rand.New(rand.NewPCG(1, 2)), rev: int64(len(aggregates)), now: 1_775_392_440_000}
	for p := range w.judges {
		w.judges[p] = judge.New(judge.Config{Book: book, Partition: int32(p)})
	}
	return w
}

// fill judges one to four events of each key, in an order without a pattern: steps of a prime through four times the keys, of
// which each key takes its share. Nothing is kept for it, so that the memory measured is the state's.
func (w *world) fill(keys int) {
	const step = 1_000_003 * 619
	for i, at := 0, 0; i < 4*keys; i, at = i+1, (at+step)%(4*keys) {
		if k, turn := at%keys, at/keys; k%4 >= turn {
			w.event(k)
		}
	}
}

// event judges an ordinary event of a key, and cuts a checkpoint now and then. 20,000 events are a second.
func (w *world) event(k int) {
	p := k % partitions
	if w.next[p]++; k%20 == 0 {
		w.now++
	}
	w.keyID = fmt.Appendf(w.keyID[:0], "signing-key-%07d", k)
	e := schema.Event{
		Tenant: "demo", KeyID: unsafe.String(&w.keyID[0], len(w.keyID)), Type: "signing_request", Severity: schema.Nominal, SourceIP: ips[w.next[p]%4], Actor: "service@myapp.com",
		Details: details, EventID: "019a20878d07722d9675abd336a39ccc", CreatedAt: w.now, RulesRev: w.rev,
	}
	w.judges[p].Event(w.next[p], &e)
	if w.next[p]%cutEvery == 0 {
		w.bodies[p], _ = w.judges[p].AppendChanges(w.bodies[p][:0])
		w.chunks[p] = append(w.chunks[p][:0], w.bodies[p]...)
	}
}

var details = []byte(`{"amount_usd":1250.75,"chain":"eth"}`)

var ips = [4]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}

func (w *world) held() int {
	n := 0
	for _, j := range w.judges {
		n += j.Keys()
	}
	return n
}

// resident is the process's memory in bytes, as the kernel counts it; 0 where it does not say.
func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}

// cpuSeconds are the CPU time of the garbage collector, and that of everything but idling, up to the end of the last collection.
func cpuSeconds() (gc, all float64) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	return samples[0].Value.Float64(), samples[1].Value.Float64() - samples[2].Value.Float64()
}
