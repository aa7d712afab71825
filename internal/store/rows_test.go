package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// start is the created_at of the first row that tests insert.
var start = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

func open(t testing.TB, dsn string) driver.Conn {
	t.Helper()
	conn, err := store.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// tokenSettings are what an INSERT needs so that a repeated one with the same token changes no table.
func tokenSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplication_token":                         token,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert": 0,
	}
}

// insert adds rows [from, from+n) of Kafka partition 0 in one INSERT: 20 tenants with 50 keys each.
func insert(t testing.TB, conn driver.Conn, from, n int, settings clickhouse.Settings) {
	t.Helper()
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(settings))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO landing (tenant, key_id, id, event_id, event_type, severity, source_ip, actor, details, created_at, score, alerts, duplicate_of, kafka_partition, kafka_offset, log_time)")
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Close()
	types := []string{"signing_request", "key_access", "rotation", "export"}
	severities := []string{"nominal", "nominal", "nominal", "warning"}
	for i := from; i < from+n; i++ {
		at := start.Add(time.Duration(i) * time.Millisecond)
		err := batch.Append(fmt.Sprintf("tenant-%d", i%20), fmt.Sprintf("key-%d", i%1000), uint64(i)*1024, fmt.Sprintf("event-%d", i),
			types[i%4], severities[i%4], "10.0.0.1", "someone", `{"amount_usd": 12}`, at, uint8(10), uint16(0), uint64(0),
			uint16(0), uint64(i), at)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
}

func number(t testing.TB, conn driver.Conn, sql string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// text returns the lines of the first column of an answer.
func text(t testing.TB, conn driver.Conn, sql string) (out string) {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		out += line + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
