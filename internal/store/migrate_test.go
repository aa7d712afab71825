package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/schema"
)

// tables describes every table of the connection's database but not the database.
const tables = `SELECT replaceAll(create_table_query, currentDatabase() || '.', '') FROM system.tables
	WHERE database = currentDatabase() ORDER BY name`

func TestMigrateTwice(t *testing.T) {
	conn := open(t, enginetest.Migrated(t))
	before := text(t, conn, tables)
	if !strings.Contains(before, "PROJECTION of_key") {
		t.Errorf("tables: %s", before)
	}
	if err := store.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if after := text(t, conn, tables); after != before {
		t.Errorf("the second run changed the tables from\n%s\nto\n%s", before, after)
	}
	statements, err := store.Statements(schema.Migrations)
	if err != nil || len(statements) < 8 {
		t.Fatalf("statements: %d, %v", len(statements), err)
	}
	names, err := schema.Migrations.ReadDir("clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, conn, "SELECT count() FROM schema_migrations"); n != uint64(len(names)) {
		t.Errorf("%d records, want one for each of %d files", n, len(names))
	}
}

// TestMigrateAfterKill carries out the first k statements, as a run does that is killed then, and migrates.
func TestMigrateAfterKill(t *testing.T) {
	want := text(t, open(t, enginetest.Migrated(t)), tables)
	statements, err := store.Statements(schema.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	for k := range len(statements) + 1 {
		conn := open(t, enginetest.DSN(t))
		for _, statement := range statements[:k] {
			if err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Migrate(t.Context(), conn); err != nil {
			t.Fatalf("after %d statements: %v", k, err)
		}
		if got := text(t, conn, tables); got != want {
			t.Errorf("after %d statements: tables\n%s\nwant\n%s", k, got, want)
		}
		conn.Close()
	}
}

func TestMigrateAtOnce(t *testing.T) {
	want := text(t, open(t, enginetest.Migrated(t)), tables)
	dsn := enginetest.DSN(t)
	var nodes sync.WaitGroup
	for range 8 {
		nodes.Go(func() {
			conn, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if err := store.Migrate(t.Context(), conn); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
	if got := text(t, open(t, dsn), tables); got != want {
		t.Errorf("tables\n%s\nwant\n%s", got, want)
	}
}

func TestMigrateRefusesChangedText(t *testing.T) {
	conn := open(t, enginetest.DSN(t))
	one, two := &fstest.MapFile{}, &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS b (n Int8) ENGINE = MergeTree ORDER BY n;\n")}
	one.Data = []byte("CREATE TABLE IF NOT EXISTS a (n Int8) ENGINE = MergeTree ORDER BY n;\n")
	files := fstest.MapFS{"clickhouse/0001_a.sql": one}
	if err := store.MigrateFS(t.Context(), conn, files); err != nil {
		t.Fatal(err)
	}
	files["clickhouse/0002_b.sql"] = two
	if err := store.MigrateFS(t.Context(), conn, files); err != nil {
		t.Fatalf("a new file: %v", err)
	}
	one.Data = append(one.Data, "-- one more line\n"...)
	err := store.MigrateFS(t.Context(), conn, files)
	if !errors.Is(err, store.ErrMigrationChanged) || !strings.Contains(err.Error(), "0001_a.sql") {
		t.Errorf("a changed file: %v, want ErrMigrationChanged with its name", err)
	}
}

func TestStatements(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		got, err := store.Statements(fstest.MapFS{"clickhouse/0001_x.sql": {Data: []byte(text)}})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	f("")
	f("-- only a comment\n\n")
	f("SELECT 1;", "SELECT 1")
	f("SELECT\n  1;\r\n\nSELECT ';' AS a,\n-- why\n  2\n;\n", "SELECT\n  1", "SELECT ';' AS a,\n  2\n")
	f("SELECT 1;\nSELECT 2", "SELECT 1", "SELECT 2")
}

func TestMigrationNames(t *testing.T) {
	f := func(names ...string) {
		t.Helper()
		files := fstest.MapFS{}
		for _, name := range names {
			files["clickhouse/"+name] = &fstest.MapFile{}
		}
		if _, err := store.Statements(files); err == nil {
			t.Errorf("%q: no error", names)
		}
	}
	f("0002_a.sql")
	f("0001_a.sql", "0003_b.sql")
	f("0001_a.sql", "0001_b.sql")
	f("1_a.sql")
	f("a.sql")
}
