package sink_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine"
	"keypulse/internal/store"
	"keypulse/schema"
	"keypulse/sink"
)

func (f *feed) verifier(db driver.Conn) sink.Verifier {
	return sink.Verifier{Client: f.client, Incarnation: f.log, DB: db}
}

func (f *feed) report(db driver.Conn) *sink.Report {
	f.t.Helper()
	r, err := f.verifier(db).Verify(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// verifyProofs checks that the verification finds nothing.
func (f *feed) verifyProofs(db driver.Conn) {
	f.t.Helper()
	if r := f.report(db); r.Missing != 0 || r.Doubled != 0 || r.NotYet != 0 {
		f.t.Errorf("verification: %+v", r)
	}
}

func exec1(t testing.TB, db driver.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := db.Exec(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// TestVerifyFindsWhatIsWrong takes rows from each table, and doubles some.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	f, _, _, db, c := setUp(t)
	stop := start(t, newSink(c, f.log, db))
	for range 50 {
		f.chunk()
	}
	f.await(db)
	stop()
	f.verify(db)
	check := func(what string, missing, doubled bool) {
		t.Helper()
		if r := f.report(db); r.Missing > 0 != missing || r.Doubled > 0 != doubled {
			t.Errorf("%s: %+v", what, r)
		}
	}
	const sync = " SETTINGS mutations_sync = 2"
	exec1(t, db, "CREATE TABLE counts_away AS rule_counts", "INSERT INTO counts_away SELECT * FROM rule_counts",
		"ALTER TABLE rule_counts DELETE WHERE rule_id = 'rule-1'"+sync)
	check("a rule without its counts", true, false)
	exec1(t, db, "INSERT INTO rule_counts SELECT * REPLACE (shadow_hits + 1 AS shadow_hits, last_id + 1 AS last_id) FROM counts_away FINAL")
	check("wrong counts", false, true)
	exec1(t, db, "TRUNCATE TABLE rule_counts", "INSERT INTO rule_counts SELECT * FROM counts_away")
	check("the counts as they were", false, false)
	exec1(t, db, "INSERT INTO events SELECT * FROM events WHERE kafka_partition = 1 AND kafka_offset = 3")
	check("a doubled event", false, true)
	exec1(t, db, "ALTER TABLE events DELETE WHERE kafka_partition = 1 AND kafka_offset = 5"+sync)
	check("a doubled event beside a missing one", true, true)
	exec1(t, db, "ALTER TABLE events DELETE WHERE kafka_partition = 1 AND kafka_offset = 3"+sync)
	check("missing events", true, false)
	for _, rollup := range []string{"keys", "activity_by_minute", "totals"} {
		exec1(t, db, "TRUNCATE TABLE "+rollup)
	}
	check("empty rollups", true, false)
}

// TestEmptyDatabaseIsFilledAgain takes the tables away: the sink goes back to the log's beginning by itself.
func TestEmptyDatabaseIsFilledAgain(t *testing.T) {
	f, _, _, db, c := setUp(t)
	for range 2 {
		stop := start(t, newSink(c, f.log, db))
		for range 50 {
			f.chunk()
		}
		f.await(db)
		stop()
		f.verify(db)
		for _, table := range []string{"events", "keys", "activity_by_minute", "totals", "key_points", "alerts", "alert_actions", "rule_counts"} {
			exec1(t, db, "TRUNCATE TABLE "+table)
		}
	}
	stop := start(t, newSink(c, f.log, db))
	f.await(db)
	stop()
	f.verify(db)
}

// TestOtherLogIsRefused gives the tables a log that they were not filled from: shorter, and as long.
func TestOtherLogIsRefused(t *testing.T) {
	f, _, _, db, c := setUp(t)
	stop := start(t, newSink(c, f.log, db))
	for range 50 {
		f.chunk()
	}
	f.await(db)
	stop()
	other, log := brokertest.Start(t, partitions)
	g := newFeed(t, other, log)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := newSink(other, log, db).Run(ctx); !errors.Is(err, sink.ErrOtherLog) {
			t.Errorf("the sink ended with %v, want ErrOtherLog", err)
		}
		for range 100 {
			g.chunk()
		}
	}
}

// TestExpiredEventsAreRecorded drops events from the log before the sink has read them.
func TestExpiredEventsAreRecorded(t *testing.T) {
	f, _, _, db, c := setUp(t)
	for round := range 2 {
		before := f.next
		for range 60 {
			f.chunk()
		}
		var lost int64
		for p := range int32(partitions) {
			to := (before[p] + f.next[p]) / 2
			lost += to - before[p]
			if err := c.DeleteBefore(t.Context(), schema.TopicEvents, p, to); err != nil {
				t.Fatal(err)
			}
		}
		stop := start(t, newSink(c, f.log, db))
		deadline := time.Now().Add(time.Minute)
		for f.report(db).NotYet > 0 && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		stop()
		r := f.report(db)
		f.lost += lost
		if r.Missing != 0 || r.Doubled != 0 || r.NotYet != 0 || r.Lost != f.lost {
			t.Errorf("round %d: %+v, want %d lost", round, r, f.lost)
		}
	}
}

// TestPausedSinkIsFenced stops a sink under load until another has its partitions, and wakes it.
func TestPausedSinkIsFenced(t *testing.T) {
	f, addr, dsn, db, c := setUp(t)
	for range soak(2, 30) {
		child := startChild(t, addr, dsn)
		target := f.total() + 500 + int64(f.random.IntN(2000))
		f.feedUntilStored(db, target)
		if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			f.chunk()
		}
		stop := start(t, newSink(c, f.log, db))
		f.await(db)
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		f.feedUntilStored(db, f.total()+500)
		f.await(db)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		f.await(db)
		stop()
		f.verify(db)
	}
}

// feedUntilStored writes until so many events are stored.
func (f *feed) feedUntilStored(db driver.Conn, target int64) {
	f.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for stored := int64(-1); stored < target; {
		if time.Now().After(deadline) {
			f.t.Fatalf("%d events stored, want %d", stored, target)
		}
		var n uint64
		if db.QueryRow(context.Background(), "SELECT count() FROM events").Scan(&n) != nil {
			continue // the engine is away for a moment
		}
		if int64(n) > stored { // it takes as long as it takes, while it goes on
			stored, deadline = int64(n), time.Now().Add(2*time.Minute)
		}
		for f.total() < max(target, stored)+2000 {
			f.chunk()
		}
	}
}

// TestKilledEngineLosesNothingAndDoublesNothing kills ClickHouse at moments that nothing chose, while rows and views are written.
func TestKilledEngineLosesNothingAndDoublesNothing(t *testing.T) {
	eng, err := engine.New(engine.Config{Dir: t.TempDir(), NativeListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- eng.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if err := eng.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := openDB(t, eng.DSN())
	if err := store.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	c, log := brokertest.Start(t, partitions)
	f := newFeed(t, c, log)
	stop := start(t, newSink(c, log, db))
	began := time.Now()
	for kill := range soak(4, 100) {
		f.feedUntilStored(db, f.total()+int64(f.random.IntN(2000)))
		for kill > 0 && kill%4 == 0 && time.Since(began) < engine.Healthy { // one in four, for an engine is given up after five quick ends
			f.feedUntilStored(db, f.total()+1000)
		}
		time.Sleep(time.Duration(f.random.IntN(30)) * time.Millisecond)
		if pid := eng.PID(); pid != 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		for eng.Ready(t.Context()) != nil || eng.Alive() != nil {
			select {
			case err := <-ended:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
		began = time.Now()
	}
	f.await(db)
	stop()
	f.verify(db)
}
