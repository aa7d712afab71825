package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/processor/judge"
	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

// recorded is a stream as it lies in the log: Zipf keys, realistic details, batches of 200 records.
type recorded struct {
	batches [][]byte
	span    schema.Millis // from its first event to its last
}

const recordedBatch = 200

func record(events, keys int) recorded {
	r := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(r, 1.2, 8, uint64(keys-1))
	types := []string{"signing_request", "signing_request", "signing_request", "key_access", "export", "policy_change"}
	var out recorded
	const begin = schema.Millis(1_775_392_440_000)
	at := begin
	for offset := 0; offset < events; {
		records := make([]broker.Record, recordedBatch)
		for i := range records {
			at += schema.Millis(r.IntN(2))
			e := schema.Event{
				Tenant: "demo", KeyID: fmt.Sprint("signing-key-", zipf.Uint64()), Type: types[r.IntN(len(types))], Severity: schema.Nominal,
				SourceIP: fmt.Sprint("10.0.0.", r.IntN(256)), Actor: "service-account@myapp.com", EventID: "019a20878d07722d9675abd336a39ccc",
				Details: fmt.Appendf(nil, `{"amount_usd":%d,"destination":"0x%08x"}`, r.IntN(100_000), r.Uint32()), CreatedAt: at, RulesRev: 100,
			}
			records[i] = broker.Record{Key: schema.RecordKey(e.Tenant, e.KeyID), Value: e.AppendValue(nil), Time: at}
		}
		out.batches = append(out.batches, broker.AppendBatch(nil, int64(offset), records))
		offset += recordedBatch
	}
	out.span = at - begin
	return out
}

// bookOf is a book with rules of tenant demo.
func bookOf(b *testing.B, whens ...string) *rules.Book {
	b.Helper()
	book := rules.NewBook()
	for i, when := range whens {
		id := fmt.Sprint("rule-", i)
		text, err := json.Marshal(map[string]any{"id": id, "name": id, "when": when, "severity": "critical", "score": 10})
		if err != nil {
			b.Fatal(err)
		}
		value, err := json.Marshal(schema.RuleRecord{Tenant: "demo", ID: id, Version: 1, Rule: text, By: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if err := book.Apply(int64(i), schema.RecordKey("demo", id), value); err != nil {
			b.Fatal(err)
		}
	}
	for n := int64(len(whens)); n < 100; n++ {
		_ = book.Apply(n, nil, []byte(`{}`)) // the rest of the topic: records that change nothing
	}
	return book
}

var (
	oneRule  = []string{`count("10m") > 1000000 && sum("10m", details.amount_usd) > 1000000000 || distinct("10m", source_ip) > 100000`}
	tenRules = []string{
		`event_type == "export" && count("10m", event_type == "export") > 1000000`,
		`count("1m") > 1000000`,
		`sum("15m", details.amount_usd) > 1000000000000`,
		`distinct("1h", source_ip) > 1000000`,
		`event_type == "policy_change" && count("24h", event_type == "export") > 1000000`,
		`severity == "critical" && count("5m", severity == "critical") > 3`,
		`max("1h", details.amount_usd) > 10000000000`,
		`avg("1h", details.amount_usd) > 10000000000`,
		`distinct("10m", actor) > 100 && count("10m") > 1000000`,
		`event_type == "key_access" && since_last(event_type == "key_access") > 90 * 86400 && count("30m", event_type == "key_access") > 5`,
	}
)

// loop is a partition without a broker: it decodes, judges and encodes, and cuts a checkpoint as often as a partition that
// runs at full speed does.
type loop struct {
	part    partition
	records []broker.Record
	shift   schema.Millis // of the stream that comes round again
	judged  int
	body    []byte // of the last cut
}

// benchCut is about what one core judges while a large cut is being written.
const benchCut = 500_000

func newLoop(book *rules.Book) *loop {
	return &loop{part: partition{book: book, judge: judge.New(judge.Config{Book: book, KeysPerTenant: 1_000_000}), log: zap.NewNop()}}
}

// run judges a batch as partition.judgeAll does, and returns the verdict's bytes.
func (l *loop) run(b *testing.B, batch []byte) int {
	l.decode(b, batch)
	verdict, n, err := l.part.judgeChunk(context.Background(), l.records)
	if err != nil || n != len(l.records) {
		b.Fatal(n, err)
	}
	verdict.Counts = l.part.counts
	l.part.judge.Tell(&verdict, maxCountsBytes, nil)
	l.part.counts = verdict.Counts
	l.part.value = verdict.AppendValue(l.part.value[:0])
	if l.judged += n; l.judged%benchCut == 0 {
		l.body, _ = l.part.judge.AppendChanges(l.body[:0])
		return len(l.body)
	}
	return len(l.part.value)
}

func (l *loop) decode(b *testing.B, batch []byte) {
	l.records = l.records[:0]
	if err := broker.DecodeBatches(batch, 0, 0, func(r broker.Record) error {
		r.Time += l.shift
		l.records = append(l.records, r)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// events decodes the batch and calls f for each event.
func (l *loop) events(b *testing.B, batch []byte, f func(e *schema.Event)) {
	l.decode(b, batch)
	var e schema.Event
	for i := range l.records {
		r := &l.records[i]
		if err := e.Decode(r.Key, r.Value, r.Time); err != nil {
			b.Fatal(err)
		}
		f(&e)
	}
}

// part is one thing that is measured beside others: what it does with a batch, and the CPU time that it took so far.
type part struct {
	l   *loop
	do  func(batch []byte)
	cpu time.Duration
}

// steady is how often the stream comes round before anything is measured: ten minutes of events, so that the windows that the
// rules look at are full and move.
const steady = 7

// measureParts runs the parts over the stream, in turn for each batch: a noisy machine disturbs all alike.
func measureParts(b *testing.B, stream recorded, parts ...*part) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pass := func(n int, batch []byte) {
		for _, p := range parts {
			p.l.shift = schema.Millis(n/len(stream.batches)) * stream.span
			begin := threadTime()
			p.do(batch)
			p.cpu += threadTime() - begin
		}
	}
	n := 0
	for ; n < steady*len(stream.batches); n++ {
		pass(n, stream.batches[n%len(stream.batches)])
	}
	for _, p := range parts {
		p.cpu = 0
	}
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		pass(n, stream.batches[n%len(stream.batches)])
		n++
	}
}

// perEvent is the part's CPU time for an event in nanoseconds.
func (p *part) perEvent(b *testing.B) float64 { return float64(p.cpu) / float64(b.N*recordedBatch) }

var benchBooks = []struct {
	name  string
	whens []string
}{{"1 rule, 3 aggregates", oneRule}, {"10 rules, 12 aggregates", tenRules}}

// BenchmarkPartition is the whole loop, bytes of the log in, verdicts and checkpoints out.
func BenchmarkPartition(b *testing.B) {
	stream := record(200_000, 10_000)
	for _, book := range benchBooks {
		b.Run(book.name, func(b *testing.B) {
			l := newLoop(bookOf(b, book.whens...))
			whole := &part{l: l, do: func(batch []byte) { l.run(b, batch) }}
			measureParts(b, stream, whole)
			b.ReportMetric(whole.perEvent(b), "cpu-ns/event")
			b.ReportMetric(1e9/whole.perEvent(b), "events/cpu-s")
		})
	}
}

// BenchmarkPartitionParts is the whole loop beside its parts, each over a state of its own: record batches, events, window
// updates, evaluations. whole/parts is the ratio that counts.
func BenchmarkPartitionParts(b *testing.B) {
	stream := record(200_000, 10_000)
	for _, book := range benchBooks {
		b.Run(book.name, func(b *testing.B) {
			read := bookOf(b, book.whens...)
			whole, decode, update, eval := &part{l: newLoop(read)}, &part{l: newLoop(read)}, &part{l: newLoop(read)}, &part{l: newLoop(read)}
			whole.do = func(batch []byte) { whole.l.run(b, batch) }
			decode.do = func(batch []byte) { decode.l.events(b, batch, func(*schema.Event) {}) }
			windows, set := window.New(window.Config{}), read.At("demo", 100)
			update.do = func(batch []byte) {
				update.l.events(b, batch, func(e *schema.Event) { windows.Observe(set, e) })
			}
			judged := window.New(window.Config{})
			eval.do = func(batch []byte) {
				eval.l.events(b, batch, func(e *schema.Event) {
					_, values := judged.Observe(set, e)
					set.Eval(e, values, func(*rules.Program) {})
				})
			}
			measureParts(b, stream, whole, decode, update, eval)
			b.ReportMetric(whole.perEvent(b), "whole-ns")
			b.ReportMetric(decode.perEvent(b), "decode-ns")
			b.ReportMetric(update.perEvent(b)-decode.perEvent(b), "update-ns")
			b.ReportMetric(eval.perEvent(b)-update.perEvent(b), "eval-ns")
			b.ReportMetric(whole.perEvent(b)/eval.perEvent(b), "whole/parts")
		})
	}
}
