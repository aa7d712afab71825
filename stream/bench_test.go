package stream

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/auth/authtest"
	"keypulse/internal/judged"
	"keypulse/schema"
)

// BenchmarkPublish gives rows to subscribers that read: busy ones that see every row, idle ones whose filter lets none
// pass, and idle ones of other tenants.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct{ busy, filtered, elsewhere int }{{0, 0, 0}, {1, 0, 0}, {20, 0, 0}, {20, 2000, 0}, {20, 0, 2000}} {
		b.Run(fmt.Sprintf("busy=%d/filtered=%d/elsewhere=%d", c.busy, c.filtered, c.elsewhere), func(b *testing.B) {
			h := New(Config{Incarnation: schema.LogRecord{Base: 1, Partitions: 8}, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
			h.at = Position{Partitions: make([]judged.Position, 8)}
			join := func(n int, tenant schema.Tenant, f Filter) (all []*Subscription) {
				for range n {
					s := &Subscription{hub: h, tenant: authtest.Tenant(b, tenant), filter: f, signal: make(chan struct{}, 1)}
					h.attach(s)
					all = append(all, s)
				}
				return all
			}
			busy := join(c.busy, "demo", Filter{})
			join(c.filtered, "demo", Filter{KeyID: "another"})
			join(c.elsewhere, "other", Filter{})
			rows := make([]judged.Row, 100)
			for i := range rows {
				rows[i] = judged.Row{Event: schema.Event{
					Tenant: "demo", KeyID: "signing-key-01", Type: "signing_request", Severity: schema.Nominal, SourceIP: "10.0.0.1",
					Actor: "service-account@myapp.com", Details: []byte(`{"amount_usd":125000,"destination":"0x7f00000a"}`), EventID: "019a20878d07722d9675abd336a39ccc",
				}}
			}
			offset := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range rows {
					rows[i].Offset = offset
					offset++
				}
				h.publish(chunk{partition: 3, rows: rows, after: judged.Position{Offset: offset}})
				for _, s := range busy {
					s.takeQueue()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
		})
	}
}
