package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/schema"
)

// counts are what the rollups must say of the events that fill wrote, by column.
var counts = []struct {
	rollup, column string
	where          string // the events that it counts
	since          int    // the version that made it
}{
	{"keys", "n_all", "1", 2},
	{"activity_by_minute", "n_all", "1", 2},
	{"totals", "n_all", "1", 2},
	{"key_points", "n", "score > 0", 4},
}

// TestMigratesEveryVersionWithData fills the tables of each earlier version and migrates, by runs that are killed after the first
// statement of the next file, after the second, and so on, each of which begins at the first again. What was counted stays, and
// the rollups say how far they have counted.
func TestMigratesEveryVersionWithData(t *testing.T) {
	files, err := schema.Migrations.ReadDir("clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	want := text(t, open(t, enginetest.Migrated(t)), tables)
	for version := range len(files) {
		old := upTo(t, version)
		before, err := store.Statements(old)
		if err != nil {
			t.Fatal(err)
		}
		next, err := store.Statements(upTo(t, version+1))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint("from ", version), func(t *testing.T) {
			conn := open(t, enginetest.DSN(t))
			defer conn.Close()
			if err := store.MigrateFS(t.Context(), conn, old); err != nil {
				t.Fatal(err)
			}
			rows := fill(t, conn, version)
			for k := 1; k <= len(next)-len(before); k++ {
				for _, statement := range next[len(before):][:k] {
					if err := conn.Exec(t.Context(), statement); err != nil {
						t.Fatalf("killed after %d statements: %v", k, err)
					}
				}
			}
			if err := store.Migrate(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			if got := text(t, conn, tables); got != want {
				t.Errorf("tables\n%s\nwant\n%s", got, want)
			}
			if rows > 0 {
				checkCounts(t, conn, version)
			}
			if n := number(t, conn, "SELECT count() FROM events"); n != rows {
				t.Errorf("%d events, want %d", n, rows)
			}
		})
	}
}

// upTo is the first files.
func upTo(t *testing.T, version int) fstest.MapFS {
	t.Helper()
	files, err := schema.Migrations.ReadDir("clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	old := fstest.MapFS{}
	for _, file := range files[:version] {
		text, err := schema.Migrations.ReadFile("clickhouse/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		old["clickhouse/"+file.Name()] = &fstest.MapFile{Data: text}
	}
	return old
}

// fill writes events as the sinks of a version did, and says how many.
func fill(t *testing.T, conn driver.Conn, version int) uint64 {
	t.Helper()
	if version == 0 {
		return 0
	}
	door := "events"
	if strings.Contains(text(t, conn, "SHOW TABLES"), "landing") {
		door = "landing"
	}
	for block := range 3 {
		err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s (tenant, key_id, id, event_type, severity, score, created_at, log_time, kafka_partition, kafka_offset)
			SELECT 'demo', toString(number %% 7), (1 + intDiv(number, 2)) * 1024 + number %% 2, 'x', 'nominal', number %% 3, fromUnixTimestamp(1764000000 + number), fromUnixTimestamp(1764000000 + number),
			number %% 2, intDiv(number, 2) FROM numbers(%d, 500)`, door, block*500))
		if err != nil {
			t.Fatal(err)
		}
	}
	return 1500
}

// checkCounts compares each rollup, group by group, with the events that were written when it was there.
func checkCounts(t *testing.T, conn driver.Conn, version int) {
	t.Helper()
	for _, c := range counts {
		var counted uint64
		if version >= c.since {
			counted = number(t, conn, "SELECT count() FROM events WHERE "+c.where)
		}
		if got := number(t, conn, fmt.Sprintf("SELECT sum(%s) FROM %s", c.column, c.rollup)); got != counted {
			t.Errorf("%s counts %d, want %d", c.rollup, got, counted)
		}
		const behind = `SELECT count() FROM (SELECT kafka_partition, max(id) AS last FROM events WHERE %s GROUP BY kafka_partition) AS e
			LEFT JOIN (SELECT kafka_partition, max(last_id) AS counted FROM %s GROUP BY kafka_partition) AS r USING (kafka_partition) WHERE last != counted`
		if n := number(t, conn, fmt.Sprintf(behind, c.where, c.rollup)); version >= c.since && n != 0 {
			t.Errorf("%s does not say of %d partitions how far it has counted", c.rollup, n)
		}
	}
}

// TestEverythingIsCommented: who opens the database finds out what is in it.
func TestEverythingIsCommented(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	const bare = `SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'MaterializedView' AND comment = ''
		UNION ALL SELECT table || '.' || name FROM system.columns WHERE database = currentDatabase() AND comment = ''
		AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'MaterializedView')`
	if names := text(t, conn, bare); names != "" {
		t.Errorf("without a comment:\n%s", names)
	}
}
