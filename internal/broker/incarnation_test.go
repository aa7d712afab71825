package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestAnotherLogIsRefused deletes the topic of events under everybody's feet: it is missing, it is made anew, and a new log
// begins, with ids above those that were given.
func TestAnotherLogIsRefused(t *testing.T) {
	addr := brokertest.StartBroker(t)
	c, log := brokertest.Open(t, addr, 2)
	if log.Topic == "" || log.Base != 1 {
		t.Fatalf("a first log: %+v", log)
	}
	if _, again := brokertest.Open(t, addr, 2); again != log {
		t.Errorf("opened again: %+v, want %+v", again, log)
	}
	running := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	record := broker.Record{Key: schema.RecordKey("demo", "k"), Value: []byte{1}, Time: schema.MillisOf(time.Now())}
	for range 3 {
		if _, err := running.Records(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	watched := make(chan error, 1)
	go func() { watched <- c.WatchLog(t.Context(), log, time.Millisecond) }()
	refused := func(when string) {
		t.Helper()
		if err := c.CheckLog(t.Context(), log); !errors.Is(err, broker.ErrOtherLog) {
			t.Errorf("%s: checked: %v", when, err)
		}
		if _, _, err := brokertest.Connect(t.Context(), addr, 2); !errors.Is(err, broker.ErrOtherLog) {
			t.Errorf("%s: opened: %v", when, err)
		}
	}
	if err := c.CheckLog(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteTopic(t.Context(), schema.TopicEvents); err != nil {
		t.Fatal(err)
	}
	refused("gone")
	cfg := broker.TopicConfig{Partitions: 2, Replicas: 1, RetentionBytes: -1, RetentionMS: -1}
	if err := c.CreateTopic(t.Context(), schema.TopicEvents, 2, cfg); err != nil {
		t.Fatal(err)
	}
	refused("made anew")
	if err := <-watched; !errors.Is(err, broker.ErrOtherLog) {
		t.Errorf("watched: %v", err)
	}
	if _, err := running.Records(t.Context(), record); !errors.Is(err, broker.ErrOtherLog) {
		t.Errorf("written by who was there before: %v", err)
	}
	next := schema.LogRecord{Version: log.Version + 1, Partitions: 2, Base: broker.NextBase(log, 3)}
	begun, err := c.StartNewLog(t.Context(), cfg, next)
	if err != nil || begun.Base <= log.Base+3 || begun.Topic == "" || begun.Topic == log.Topic {
		t.Fatalf("a new log: %+v, %v", begun, err)
	}
	fresh, opened := brokertest.Open(t, addr, 2)
	if opened != begun {
		t.Errorf("opened: %+v, want %+v", opened, begun)
	}
	first, err := broker.NewAppend(fresh, schema.TopicEvents, 0, broker.DefaultProducerConfig()).Records(t.Context(), record)
	if err != nil || first != 0 {
		t.Errorf("its first event is at %d, %v", first, err)
	}
}

// TestCutLogIsRefused: a log that ends before what was judged or committed of it has lost its end.
func TestCutLogIsRefused(t *testing.T) {
	c, log := brokertest.Start(t, 2)
	check := func(want error) {
		t.Helper()
		if err := c.CheckLog(t.Context(), log, "somebody"); !errors.Is(err, want) {
			t.Errorf("checked: %v, want %v", err, want)
		}
	}
	check(nil)
	group := broker.Group{ID: "somebody", Topic: schema.TopicEvents, Log: zaptest.NewLogger(t)}
	commit := func(offset int64) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := c.RunGroup(ctx, group, func(ctx context.Context, g *broker.Generation) error {
			defer cancel()
			return g.Commit(ctx, []broker.Commit{{Partition: 1, Offset: offset}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit(1)
	check(broker.ErrOtherLog)
	if err := c.EndGroups(t.Context(), "somebody", "nobody"); err != nil {
		t.Fatal(err)
	}
	check(nil)
	v := schema.Verdict{From: 0, To: 1}
	if _, err := broker.NewAppend(c, schema.TopicVerdicts, 1, broker.DefaultProducerConfig()).Records(t.Context(), broker.Record{Value: v.AppendValue(nil), Time: 1}); err != nil {
		t.Fatal(err)
	}
	check(broker.ErrOtherLog)
}
