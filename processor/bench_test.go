package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

// recorded is a stream as it lies in the log: Zipf keys, realistic details, batches of 200 records.
type recorded struct {
	batches [][]byte
	events  int
}

const recordedBatch = 200

func record(events, keys int) recorded {
	r := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(r, 1.2, 8, uint64(keys-1))
	types := []string{"signing_request", "signing_request", "signing_request", "key_access", "export", "policy_change"}
	out := recorded{events: events}
	at := schema.Millis(1_775_392_440_000)
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

// loop is a partition without a broker: it decodes, judges and encodes, and cuts a checkpoint every so many events.
type loop struct {
	part    partition
	records []broker.Record
	judged  int
}

const benchCut = 500_000 // about what one core judges in CheckpointEvery

func newLoop(book *rules.Book) *loop {
	return &loop{part: partition{book: book, judge: newJudge(book, 0, 0, 1_000_000), log: zap.NewNop()}}
}

// run judges a batch as partition.judgeAll does, and returns the verdict's bytes.
func (l *loop) run(b *testing.B, batch []byte) int {
	l.decode(b, batch)
	verdict, n, err := l.part.judgeChunk(context.Background(), l.records)
	if err != nil || n != len(l.records) {
		b.Fatal(n, err)
	}
	l.part.value = verdict.AppendValue(l.part.value[:0])
	if l.judged += n; l.judged%benchCut == 0 {
		body, _ := l.part.judge.appendChanges(nil)
		return len(body)
	}
	return len(l.part.value)
}

func (l *loop) decode(b *testing.B, batch []byte) {
	l.records = l.records[:0]
	if err := broker.DecodeBatches(batch, 0, 0, func(r broker.Record) error {
		l.records = append(l.records, r)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// eachBatch runs f over the stream again and again and reports the cost of an event.
func eachBatch(b *testing.B, stream recorded, f func(batch []byte)) {
	for _, batch := range stream.batches {
		f(batch) // the steady state: every key has its state
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		f(stream.batches[i%len(stream.batches)])
		n += recordedBatch
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPartition is the whole loop, beside the sum of its parts: what each costs alone on the same stream.
func BenchmarkPartition(b *testing.B) {
	stream := record(200_000, 10_000)
	for name, whens := range map[string][]string{"1 rule, 3 aggregates": oneRule, "10 rules, 12 aggregates": tenRules} {
		book := bookOf(b, whens...)
		b.Run("whole, "+name, func(b *testing.B) {
			l := newLoop(book)
			eachBatch(b, stream, func(batch []byte) { l.run(b, batch) })
		})
		b.Run("window and evaluation, "+name, func(b *testing.B) { benchmarkJudging(b, stream, book) })
	}
	b.Run("record batches", func(b *testing.B) {
		l := newLoop(bookOf(b))
		eachBatch(b, stream, func(batch []byte) { l.decode(b, batch) })
	})
	b.Run("record batches and events", func(b *testing.B) {
		l := newLoop(bookOf(b))
		var e schema.Event
		eachBatch(b, stream, func(batch []byte) {
			l.decode(b, batch)
			for i := range l.records {
				if err := e.Decode(l.records[i].Key, l.records[i].Value, l.records[i].Time); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// benchmarkJudging measures the windows and the rules alone: on events that are decoded already.
func benchmarkJudging(b *testing.B, stream recorded, book *rules.Book) {
	l := newLoop(book)
	events := make([][]schema.Event, len(stream.batches))
	for i, batch := range stream.batches {
		l.decode(b, batch)
		for _, r := range l.records {
			e, err := schema.DecodeEvent(r.Key, r.Value, r.Time)
			if err != nil {
				b.Fatal(err)
			}
			events[i] = append(events[i], e)
		}
	}
	windows, set := window.New(window.Config{}), book.At("demo", 100)
	next := 0
	eachBatch(b, stream, func([]byte) {
		for i := range events[next] {
			e := &events[next][i]
			_, values := windows.Observe(set, e)
			set.Eval(e, values, func(*rules.Program) {})
		}
		next = (next + 1) % len(events)
	})
}
