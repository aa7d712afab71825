package sink_test

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keypulse/sink"
)

// TestMemoryIsBoundedWhileClickHouseIsAway fills the log with much more than a batch, in verdicts that are larger than one, too,
// while nothing can be stored. Its full count is ten minutes, and then the memory is that of a process.
func TestMemoryIsBoundedWhileClickHouseIsAway(t *testing.T) {
	const batch = 2 << 20
	f, addr, dsn, db, c := setUp(t)
	n, through := startNetwork(t, dsn, 1)
	var used func() int64
	var stop func()
	bound := int64(4 * batch) // two batches, what is read ahead, and a row more of each
	if minutes := soak(0, 10); minutes == 0 {
		cfg := config(c, f.log, openDB(t, through))
		registry := prometheus.NewRegistry()
		cfg.BatchBytes, cfg.Metrics = batch, registry
		stop = start(t, sink.New(cfg))
		used = func() int64 { return gauge(t, registry, "keypulse_sink_held_bytes") }
	} else {
		child := startChild(t, addr, through, childBytes+"="+strconv.Itoa(batch))
		stop = func() {
			_ = child.Process.Kill()
			_ = child.Wait() // it was killed
		}
		used = func() int64 { return resident(t, child.Process.Pid) }
	}
	details := []byte(`{"x":"` + string(bytes.Repeat([]byte("y"), 8<<10)) + `"}`)
	f.chunkOf(100, details)
	f.await(db)
	before := used()
	if soak(0, 1) == 1 {
		bound += before + 32<<20 // garbage
	}
	n.spoil(faults{away: true})
	most, began, away := int64(0), time.Now(), time.Duration(soak(0, 10))*time.Minute
	for written := 0; written < 8*batch || time.Since(began) < away; written += 1000 * len(details) {
		n := int64(1000) // eight batches in one verdict
		if written >= 8*batch {
			n = 100
			time.Sleep(time.Second)
		}
		f.chunkOf(n, details)
		most = max(most, used())
	}
	if most > bound {
		t.Errorf("%d bytes were used while ClickHouse was away, and %d before: at most %d", most, before, bound)
	}
	n.spoil(faults{})
	f.await(db)
	stop()
	f.verify(db)
	t.Logf("%d events, %v away, %d bytes before, at most %d meanwhile", f.total(), time.Since(began), before, most)
}

// gauge reads a metric.
func gauge(t *testing.T, registry *prometheus.Registry, name string) int64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return int64(family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// resident is how much memory a process uses.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
