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
	"strings"
	"time"

	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	partitions = 8
	cutEvery   = 20_000 // events of a partition
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
	w := newWorld(book, keys)
	before := resident()
	for _, k := range w.order(keys) {
		w.event(int(k))
	}
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
	sizes  [partitions]int // of the last cut
	rev    int64
	now    schema.Millis
	keyIDs []string
}

func newWorld(book *rules.Book, keys int) *world {
	w := &world{random: rand.New(rand.NewPCG(1, 2)), rev: int64(len(aggregates)), now: 1_775_392_440_000}
	for p := range w.judges {
		w.judges[p] = judge.New(judge.Config{Book: book, Partition: int32(p)})
	}
	var all strings.Builder // one allocation, which is not the state's
	all.Grow(20 * keys)
	for k := range keys {
		fmt.Fprintf(&all, "signing-key-%07d", k)
	}
	for k := range keys {
		w.keyIDs = append(w.keyIDs, all.String()[19*k:19*k+19])
	}
	return w
}

// event judges an ordinary event of a key, and cuts a checkpoint now and then. 20,000 events are a second.
func (w *world) event(k int) {
	p := k % partitions
	if w.next[p]++; k%20 == 0 {
		w.now++
	}
	e := schema.Event{
		Tenant: "demo", KeyID: w.keyIDs[k], Type: "signing_request", Severity: schema.Nominal, SourceIP: ips[w.next[p]%4], Actor: "service@myapp.com",
		Details: []byte(`{"amount_usd":1250.75,"chain":"eth"}`), EventID: "019a20878d07722d9675abd336a39ccc", CreatedAt: w.now, RulesRev: w.rev,
	}
	w.judges[p].Event(w.next[p], &e)
	if w.next[p]%cutEvery == 0 {
		body, _ := w.judges[p].AppendChanges(make([]byte, 0, w.sizes[p]))
		w.sizes[p] = len(body) + len(body)/8
	}
}

var ips = [4]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}

// order has each key one to four times, in random order.
func (w *world) order(keys int) []int32 {
	var list []int32
	for k := range keys {
		for range 1 + k%4 {
			list = append(list, int32(k))
		}
	}
	w.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

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
