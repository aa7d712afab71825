package store_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/engine"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

// checkRows compares the number of rows of events, and what every rollup has counted, with want.
func checkRows(t *testing.T, conn driver.Conn, want uint64) {
	t.Helper()
	for _, sql := range []string{
		"SELECT count() FROM events",
		"SELECT count() FROM mergeTreeProjection(currentDatabase(), events, of_key)",
		"SELECT sum(n_all) FROM keys",
		"SELECT sum(n_all) FROM activity_by_minute",
		"SELECT sum(n_all) FROM totals",
	} {
		if n := number(t, conn, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
}

func TestSameTokenTwice(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	insert(t, conn, 0, 5000, tokenSettings("0-4999"))
	insert(t, conn, 5000, 10, tokenSettings("5000-5009"))
	insert(t, conn, 0, 5000, tokenSettings("0-4999"))
	insert(t, conn, 5000, 10, tokenSettings("5000-5009"))
	checkRows(t, conn, 5010)
}

// TestSameTokenTwiceOverMonths inserts a batch of two partitions: the token counts in each.
func TestSameTokenTwiceOverMonths(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	from := int((10*24*time.Hour + 23*time.Hour + 59*time.Minute + 59*time.Second + 500*time.Millisecond) / time.Millisecond)
	insert(t, conn, from, 1000, tokenSettings("over"))
	insert(t, conn, from, 1000, tokenSettings("over"))
	checkRows(t, conn, 1000)
	if n := number(t, conn, "SELECT uniqExact(partition_id) FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active"); n != 2 {
		t.Errorf("%d months, want 2", n)
	}
}

// TestDependentViewsNeedTheirSetting shows what is lost without it, so that nobody drops it.
func TestDependentViewsNeedTheirSetting(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	settings := clickhouse.Settings{"insert_deduplication_token": "a", "deduplicate_blocks_in_dependent_materialized_views": 0}
	insert(t, conn, 0, 10, settings)
	insert(t, conn, 0, 10, settings)
	if n := number(t, conn, "SELECT count() FROM events"); n != 20 { // events is filled by a view, too
		t.Errorf("events: %d, want the doubled 20", n)
	}
	if n := number(t, conn, "SELECT sum(n_all) FROM totals"); n != 20 {
		t.Errorf("totals: %d, want the doubled 20", n)
	}
}

func TestListsReadInOrder(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	for i := range 3 {
		insert(t, conn, i*60_000, 60_000, nil)
	}
	const list = " ORDER BY created_at DESC, id DESC LIMIT 50"
	f := func(name, where string, wants ...string) {
		t.Helper()
		plan := text(t, conn, "EXPLAIN indexes = 1, projections = 1 SELECT * FROM events WHERE "+where+list)
		for _, want := range wants {
			if !strings.Contains(plan, want) {
				t.Errorf("%s: the plan has no %q:\n%s", name, want, plan)
			}
		}
		if n := number(t, conn, "SELECT count() FROM (SELECT id FROM events WHERE "+where+list+")"); n != 50 {
			t.Errorf("%s: %d rows, want 50", name, n)
		}
	}
	f("one tenant", "tenant = 'tenant-1'", "Read type: InReverseOrder", ".events)")
	f("one key", "tenant = 'tenant-1' AND key_id = 'key-21'", "Read type: InReverseOrder", "ReadFromMergeTree (of_key)")
}

// TestRowsSurviveKill kills an engine of its own.
func TestRowsSurviveKill(t *testing.T) {
	eng, err := engine.New(engine.Config{Dir: t.TempDir(), NativeListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ready(t, eng, 0)
	conn, err := store.Open(ctx, eng.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := store.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		insert(t, conn, i*5000, 5000, tokenSettings("n"+string(rune('a'+i))))
		pid := eng.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ready(t, eng, pid)
		checkRows(t, open(t, eng.DSN()), uint64(i+1)*5000)
	}
	insert(t, open(t, eng.DSN()), 0, 5000, tokenSettings("na"))
	checkRows(t, open(t, eng.DSN()), 15_000)
}

// ready waits until a child answers that is not the process old.
func ready(t *testing.T, eng *engine.Engine, old int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if pid := eng.PID(); pid != 0 && pid != old && eng.Alive() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("engine: %v", eng.Alive())
		}
	}
}
