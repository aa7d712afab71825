package ingest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"keypulse/ingest/decode"
	"keypulse/internal/auth/authtest"
	"keypulse/internal/broker/brokertest"
)

// BenchmarkThroughput is events that the log acknowledges, from 16 callers: in bulk requests of 10,000 lines, in batches of
// 100, and by the same producer without HTTP and JSON. The CPU time is the whole process's: client, node and broker.
func BenchmarkThroughput(b *testing.B) {
	n := startNode(b, brokertest.StartBroker(b), nil)
	addr := strings.TrimPrefix(n.url, "http://")
	events := func(count int, separator string) string {
		return strings.Repeat(benchEventPlain+separator, count-1) + benchEventPlain
	}
	request := func(path, contentType, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nPrefer: respond-async\r\nContent-Length: %d\r\n\r\n%s",
			path, n.apiKey, contentType, len(body), body)
	}
	over := func(count int, request string) func(*testing.B) {
		return func(b *testing.B) {
			measure(b, count, func(pb *testing.PB) {
				for c := dial(b, addr); pb.Next(); {
					c.exchange(b, request)
				}
			})
		}
	}
	b.Run("bulk", over(10_000, request(BulkPath, "application/x-ndjson", events(10_000, "\n"))))
	b.Run("batch", over(MaxBatch, request("/api/events/batch", "application/json", `{"events":[`+events(MaxBatch, ",")+`]}`)))
	b.Run("producer", func(b *testing.B) {
		tenant := authtest.Tenant(b, "acme")
		body := []byte(`{"events":[` + events(MaxBatch, ",") + `]}`)
		measure(b, MaxBatch, func(pb *testing.PB) {
			d := decode.Open(body)
			defer d.Close()
			events, errs := d.Batch(MaxBatch)
			if errs != nil {
				b.Error(errs)
				return
			}
			s := newScratch()
			n.stamp(s, tenant, events)
			for pb.Next() {
				if err := n.producer.Produce(s.records); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// benchEventPlain is benchEvent without an event_id of its own.
var benchEventPlain = benchEvent[:strings.Index(benchEvent, `,"event_id"`)] + "}"

// measure runs work of so many events each in 16 goroutines.
func measure(b *testing.B, events int, work func(*testing.PB)) {
	b.Helper()
	b.SetParallelism(8)
	begin, cpu := time.Now(), cpuTime(b)
	b.RunParallel(work)
	total := float64(b.N * events)
	b.ReportMetric(total/time.Since(begin).Seconds(), "events/s")
	b.ReportMetric(float64(cpuTime(b)-cpu)/total, "cpu-ns/event")
}

// cpuTime is the CPU time of this process in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
