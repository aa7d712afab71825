package sink_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine/enginetest"
	"keypulse/sink"
)

// BenchmarkSink stores events from the log, and in turn has the server alone copy the same rows into the same tables and views.
func BenchmarkSink(b *testing.B) {
	const rows, turns = 300_000, 5
	addr, dsn := brokertest.StartBroker(b), enginetest.Migrated(b)
	c, log := brokertest.Open(b, addr, partitions)
	db := openDB(b, dsn)
	f := newFeed(b, c, log)
	f.keys = 3000
	details := []byte(`{"amount":"12.5","asset":"BTC","destination":"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq","quorum":{"required":3,"given":["a","b","c"]},"note":"monthly settlement"}`)
	for f.total() < rows {
		f.chunkOf(5000, details)
	}
	other := openDB(b, enginetest.Migrated(b)) // the same tables and views, and the rows
	var ours, server []float64
	for b.Loop() {
		for turn := range turns {
			empty(b, db)
			ours = append(ours, stored(b, f, db))
			f.verify(db)
			if turn == 0 {
				exec1(b, other, "CREATE TABLE source ENGINE = Memory AS SELECT * FROM "+database(b, db)+".events ORDER BY kafka_partition, kafka_offset")
				exec1(b, other, "INSERT INTO fence SELECT DISTINCT kafka_partition, 1 FROM source")
			}
			empty(b, other)
			began := time.Now()
			exec1(b, other, "INSERT INTO landing SELECT *, 1, '' FROM source")
			server = append(server, time.Since(began).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rows/median(ours), "rows/s")
	b.ReportMetric(rows/median(server), "server-rows/s")
	b.ReportMetric(median(server)/median(ours), "sink/server")
}

// stored runs a sink until it has stored everything, and returns the seconds.
func stored(b *testing.B, f *feed, db driver.Conn) float64 {
	b.Helper()
	if err := f.client.EndGroups(b.Context(), sink.GroupID); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	cfg := config(f.client, f.log, db)
	cfg.BatchWait = 0 // the default
	s := sink.New(cfg)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for s.Check(ctx) != nil { // it joins its group
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	for n := uint64(0); n < uint64(f.total()); {
		time.Sleep(5 * time.Millisecond)
		scan(b, db, "SELECT sum(n_all) FROM totals", &n) // the last table but one that a view fills
	}
	took := time.Since(began).Seconds()
	f.await(db)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

func empty(b *testing.B, db driver.Conn) {
	b.Helper()
	for _, table := range []string{"events", "keys", "key_points", "activity_by_minute", "totals", "alerts"} {
		exec1(b, db, "TRUNCATE TABLE "+table)
	}
}

func database(b *testing.B, db driver.Conn) (name string) {
	b.Helper()
	scan(b, db, "SELECT currentDatabase()", &name)
	return name
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
