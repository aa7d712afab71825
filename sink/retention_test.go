package sink_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/broker"
	"keypulse/schema"
	"keypulse/sink"
)

const month = 31 * 24 * time.Hour

// retaining is a sink that keeps events for a month.
func retaining(c *broker.Client, log schema.LogRecord, db driver.Conn) *sink.Sink {
	cfg := config(c, log, db)
	cfg.Retention, cfg.RetentionEvery = month, 10*time.Millisecond
	return sink.New(cfg)
}

// awaitEvents waits until events has so many rows, and the tables that its views fill, one after another, have theirs.
func (f *feed) awaitEvents(db driver.Conn, want int64) {
	f.t.Helper()
	var n uint64
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if scan(f.t, db, "SELECT count() FROM events", &n); int64(n) == want && f.report(db).NotYet == 0 {
			return
		}
	}
	f.t.Fatalf("events has %d rows, want %d", n, want)
}

// verifyDropped checks that the verification finds nothing, knows what was dropped, and that the rollups still count it.
func (f *feed) verifyDropped(db driver.Conn, dropped int64) {
	f.t.Helper()
	f.verifyProofs(db)
	if r := f.report(db); r.Dropped != dropped {
		f.t.Errorf("verification says that %d events were dropped, want %d", r.Dropped, dropped)
	}
	for _, rollup := range []string{"keys", "activity_by_minute", "totals"} {
		var n uint64
		if scan(f.t, db, "SELECT sum(n_all) FROM "+rollup, &n); n != uint64(f.total()) {
			f.t.Errorf("%s counts %d events, want %d", rollup, n, f.total())
		}
	}
}

// TestRetention drops months while new events come in, and once more what a crash between record and drop has left.
func TestRetention(t *testing.T) {
	f, _, _, db, c := setUp(t)
	stop := start(t, newSink(c, f.log, db))
	for _, age := range []time.Duration{5 * month, 3 * month} {
		f.age = age
		for range 60 {
			f.chunk()
		}
	}
	f.await(db)
	stop()
	f.verify(db)
	old := f.total()
	exec1(t, db, "CREATE TABLE aside AS events", "INSERT INTO aside SELECT * FROM events")
	var months []string
	scan(t, db, "SELECT groupUniqArray(toString(toYYYYMM(log_time))) FROM events", &months)

	f.age = 0
	stop = start(t, retaining(c, f.log, db))
	for range 60 {
		f.chunk()
	}
	f.awaitEvents(db, f.total()-old)
	f.verifyDropped(db, old)
	stop()
	f.verifyDropped(db, old)

	// As after a crash: what is recorded as dropped is there yet.
	for _, m := range months {
		exec1(t, db, fmt.Sprintf("ALTER TABLE events ATTACH PARTITION %s FROM aside", m))
	}
	f.awaitEvents(db, f.total())
	f.verifyDropped(db, old)
	stop = start(t, retaining(c, f.log, db))
	f.awaitEvents(db, f.total()-old)
	f.verifyDropped(db, old)
	stop()
}

// TestRetentionWaitsForLateRows holds back rows of an old month: nothing is dropped before they are stored. Then nothing is
// left, and the next sink goes on after what was dropped.
func TestRetentionWaitsForLateRows(t *testing.T) {
	f, _, _, db, c := setUp(t)
	f.age = 3 * month
	for range 30 {
		f.chunk()
	}
	stop := start(t, newSink(c, f.log, db))
	f.await(db)
	stop()
	first := f.total()
	f.hold = true // in the log, and not to be stored yet
	for range 30 {
		f.chunk()
	}
	stop = start(t, retaining(c, f.log, db))
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		var n uint64
		if scan(t, db, "SELECT count() FROM events", &n); int64(n) != first {
			t.Fatalf("%d rows, want %d: dropped while others of their month are still to come", n, first)
		}
	}
	f.hold = false
	f.judge()
	f.awaitEvents(db, 0)
	stop()
	old := f.total()
	f.verifyDropped(db, old)
	f.age = 0
	for range 30 {
		f.chunk()
	}
	stop = start(t, newSink(c, f.log, db))
	f.awaitEvents(db, f.total()-old)
	stop()
	f.verifyDropped(db, old)
}
