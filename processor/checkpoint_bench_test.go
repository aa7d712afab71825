package processor_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/processor"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	latencyKeys  = 300_000 // with state
	latencyPhase = 3 * time.Second
	latencyPause = time.Millisecond // between two events
)

// BenchmarkCheckpointLatency measures from the append of an event to its verdict, at 1,000 events/s over many keys with state: once
// with a checkpoint a second, once without. Phases of both take turns.
func BenchmarkCheckpointLatency(b *testing.B) {
	if testing.Short() {
		b.Skip("writes 300,000 events and takes a minute")
	}
	c, log := brokertest.Start(b, partitions)
	w := newRestartLog(b, c)
	for from := 0; from < latencyKeys; from += 1000 {
		w.write(from, 1000, 0)
	}
	stop := start(b, c, log)
	w.wait()
	stop()
	var with, without, added []float64
	for b.Loop() {
		on, off := w.phase(log, time.Second), w.phase(log, time.Hour)
		with, without, added = append(with, on), append(without, off), append(added, on-off)
	}
	for _, list := range [][]float64{with, without, added} {
		slices.Sort(list)
	}
	b.ReportMetric(with[len(with)/2], "p99-ms")
	b.ReportMetric(without[len(without)/2], "p99-ms-without")
	b.ReportMetric(added[len(added)/2], "p99-ms-added")
	b.ReportMetric(0, "ns/op")
}

// phase runs a processor and returns the 99th percentile of the time to an event's verdict in milliseconds.
func (w *restartLog) phase(log schema.LogRecord, every time.Duration) float64 {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	book := rules.NewBook()
	wg.Go(func() {
		_ = broker.NewFollower(w.c, schema.TopicRules, func(r broker.Record) { _ = book.Apply(r.Offset, r.Key, r.Value) }).Run(ctx)
	})
	p := processor.New(processor.Config{
		Client: w.c, Incarnation: log, Book: book, Producer: broker.DefaultProducerConfig(), CheckpointEvery: every,
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			w.b.Error(err)
		}
	})
	w.write(0, 1, 1) // judged when the state is restored
	w.write(1000, 1, 1)
	w.write(2000, 1, 1)
	w.wait()
	var took []float64
	key := 0
	for begin, next := time.Now(), time.Now(); time.Since(begin) < latencyPhase; next = next.Add(latencyPause) {
		time.Sleep(time.Until(next))
		sent := time.Now()
		key = (key + 1009) % latencyKeys
		w.write(key, 1, 1)
		w.wait()
		took = append(took, float64(time.Since(sent))/float64(time.Millisecond))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}
