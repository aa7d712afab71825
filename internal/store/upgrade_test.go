package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/schema"
)

// TestMigratesEveryVersionWithData fills the tables of each earlier version and migrates, once straight and once after a run
// that was killed after each statement: what was counted stays, and the rollups say how far they have counted.
func TestMigratesEveryVersionWithData(t *testing.T) {
	files, err := schema.Migrations.ReadDir("clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	for version := 4; version < len(files); version++ {
		old := fstest.MapFS{}
		for _, file := range files[:version] {
			text, err := schema.Migrations.ReadFile("clickhouse/" + file.Name())
			if err != nil {
				t.Fatal(err)
			}
			old["clickhouse/"+file.Name()] = &fstest.MapFile{Data: text}
		}
		statements, err := store.Statements(schema.Migrations)
		if err != nil {
			t.Fatal(err)
		}
		before, err := store.Statements(old)
		if err != nil {
			t.Fatal(err)
		}
		conn := open(t, enginetest.DSN(t))
		if err := store.MigrateFS(t.Context(), conn, old); err != nil {
			t.Fatal(err)
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
		for _, statement := range statements[len(before):] { // a run that is killed before it records the file
			if err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Migrate(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		for rollup, n := range map[string]string{"keys": "n_all", "activity_by_minute": "n_all", "totals": "n_all", "key_points": "n"} {
			want := uint64(1500)
			if rollup == "key_points" {
				want = 1000
			}
			if got := number(t, conn, fmt.Sprintf("SELECT sum(%s) FROM %s", n, rollup)); got != want {
				t.Errorf("from version %d: %s counts %d, want %d", version, rollup, got, want)
			}
		}
		const behind = `SELECT count() FROM (SELECT tenant, key_id, kafka_partition, max(id) AS last FROM events GROUP BY tenant, key_id, kafka_partition) AS e
			LEFT JOIN (SELECT tenant, key_id, kafka_partition, max(last_id) AS counted FROM keys GROUP BY tenant, key_id, kafka_partition) AS k
			USING (tenant, key_id, kafka_partition) WHERE last != counted`
		if n := number(t, conn, behind); n != 0 {
			t.Errorf("from version %d: %d keys do not say how far they have counted", version, n)
		}
		conn.Close()
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
