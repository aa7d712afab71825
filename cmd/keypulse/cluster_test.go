package main

import (
	"fmt"
	"testing"

	"keypulse/internal/engine"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

// TestTwoShards runs everything on a cluster of two ClickHouse servers.
func TestTwoShards(t *testing.T) {
	shards := enginetest.StartShards(t)
	in := newInstance(t)
	in.settings = append(in.settings, "KEYPULSE_CLICKHOUSE_DSN="+shards[0].DSN(), "KEYPULSE_CLICKHOUSE_CLUSTER="+engine.Database)
	in.start()
	in.ready()
	for i := range 40 {
		in.post(fmt.Sprint("k", i), "export")
	}
	in.verified()
	if n := len(in.events("limit=500")); n != 40 {
		t.Errorf("%d of 40 events are listed", n)
	}
	servers, err := store.Cluster{Name: engine.Database}.Servers(t.Context(), shards[0].DSN())
	if err != nil {
		t.Fatal(err)
	}
	for i, server := range servers {
		defer server.Close()
		var n uint64
		if err := server.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&n); err != nil || n == 0 || n == 40 {
			t.Errorf("shard %d has %d of 40 events: %v", i, n, err)
		}
	}
}
