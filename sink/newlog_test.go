package sink_test

import (
	"errors"
	"testing"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/sink"
)

// TestNewLogBeginsAboveTheOld ends a log of which not everything is stored and begins another one on the same tables: no id is
// given a second time, and the verification looks at the new log alone. Then that is repeated.
func TestNewLogBeginsAboveTheOld(t *testing.T) {
	f, addr, _, db, c := setUp(t)
	cfg := broker.TopicConfig{Partitions: partitions, Replicas: 1, RetentionBytes: -1, RetentionMS: -1}
	var rows int64
	if err := sink.MayBegin(t.Context(), db); err != nil {
		t.Errorf("a first log on empty tables: %v", err)
	}
	for range 2 {
		stop := start(t, newSink(c, f.log, db))
		for range 20 {
			f.chunk()
		}
		f.await(db)
		stop()
		if r := f.report(db); r.Missing != 0 || r.Doubled != 0 || r.NotYet != 0 {
			t.Errorf("log with base %d: %+v", f.log.Base, r)
		}
		rows += f.total()
		var stored, distinct uint64
		if scan(t, db, "SELECT count(), uniqExact(id) FROM events", &stored, &distinct); int64(stored) != rows || distinct != stored {
			t.Errorf("%d rows with %d ids, want %d", stored, distinct, rows)
		}
		if err := f.verifier(db).CheckLog(t.Context()); err != nil {
			t.Error(err)
		}
		for range 5 { // in the log, and never stored
			f.chunk()
		}
		reached, err := c.Reached(t.Context(), f.log, sink.GroupID)
		if err != nil {
			t.Fatal(err)
		}
		next, err := sink.PrepareNewLog(t.Context(), db, f.log, reached)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.EndGroups(t.Context(), sink.GroupID); err != nil {
			t.Fatal(err)
		}
		begun, err := c.StartNewLog(t.Context(), cfg, next)
		if err != nil || begun.Base <= f.log.Base+f.total() {
			t.Fatalf("a new log after %+v, which had %d events: %+v, %v", f.log, f.total(), begun, err)
		}
		if err := sink.MayBegin(t.Context(), db); !errors.Is(err, sink.ErrOtherLog) {
			t.Errorf("a first log on tables with events: %v", err)
		}
		acted := f.acted
		c, begun = brokertest.Open(t, addr, partitions)
		f = newFeed(t, c, begun)
		f.acted = acted // actions stay
	}
}
