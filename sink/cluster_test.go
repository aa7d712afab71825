package sink_test

import (
	"syscall"
	"testing"
	"time"

	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/sink"
)

// TestShardsShareTheRows stores into two engines through Distributed tables, while one of them is killed now and then.
func TestShardsShareTheRows(t *testing.T) {
	engines := enginetest.StartShards(t)
	cluster := store.Cluster{Name: engine.Database}
	for range 2 {
		if err := cluster.Migrate(t.Context(), engines[0].DSN()); err != nil {
			t.Fatal(err)
		}
	}
	servers, err := cluster.Servers(t.Context(), engines[0].DSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		t.Cleanup(func() { server.Close() })
	}
	db := openDB(t, engines[0].DSN())
	c, log := brokertest.Start(t, partitions)
	f := newFeed(t, c, log)
	cfg := config(c, log, db)
	cfg.Servers = servers
	stop := start(t, sink.New(cfg))
	for range soak(2, 50) {
		f.feedUntilStored(db, f.total()+500+int64(f.random.IntN(1000)))
		for began := time.Now(); soak(0, 1) == 1 && time.Since(began) < engine.Healthy; { // an engine is given up after five quick ends
			f.feedUntilStored(db, f.total()+1000)
		}
		killed := engines[f.random.IntN(2)]
		if err := syscall.Kill(killed.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	f.await(db)
	stop()
	f.verify(db)
	f.verify(openDB(t, engines[1].DSN())) // each server shows all
	for i, server := range servers {
		var own uint64
		if scan(t, server, "SELECT count() FROM events", &own); own == 0 || own >= uint64(f.total()) {
			t.Errorf("shard %d has %d of %d events", i, own, f.total())
		}
	}
}
