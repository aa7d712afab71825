package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"keypulse/internal/judged"
	"keypulse/schema"
)

// BenchmarkEncode turns rows into the columns of an INSERT, and in turn appends the same values to ch-go's columns, which
// clickhouse-go's are made of.
func BenchmarkEncode(b *testing.B) {
	const rows = 20_000
	block := []block{{partition: 3}}
	for i := range int64(rows) {
		block[0].rows = append(block[0].rows, judged.Row{
			Event: schema.Event{
				Tenant: "demo", KeyID: fmt.Sprint("key-", i%3000), Type: "signing_request", Severity: schema.Nominal, SourceIP: "10.0.0.1", Actor: "service-account@myapp.com",
				Details: []byte(`{"amount":"12.5","asset":"BTC","destination":"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}`), EventID: fmt.Sprintf("%036d", i), CreatedAt: schema.Millis(i),
			},
			ID: i, Offset: i, LogTime: schema.Millis(i),
		})
	}
	types := []column.Type{
		"LowCardinality(String)", "String", "UInt64", "String", "LowCardinality(String)", "Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3)", "String", "String", "String",
		"DateTime64(3, 'UTC')", "UInt8", "UInt16", "UInt64", "UInt16", "UInt64", "DateTime64(3, 'UTC')", "UInt64", "LowCardinality(String)",
	}
	var ours, bare time.Duration
	for b.Loop() {
		began := time.Now()
		for i, values := range landingColumns(block, 1, "") {
			c, err := types[i].Column("c", &column.ServerContext{Timezone: time.UTC})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Append(values); err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(began)
		began = time.Now()
		appendBare(block[0].rows)
		bare += time.Since(began)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*rows), "ns/row")
	b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N*rows), "bare-ns/row")
	b.ReportMetric(float64(ours)/float64(bare), "ours/bare")
}

func appendBare(rows []judged.Row) {
	var keyID, eventID, sourceIP, actor, details proto.ColStr
	tenant, eventType, only := proto.NewLowCardinality(new(proto.ColStr)), proto.NewLowCardinality(new(proto.ColStr)), proto.NewLowCardinality(new(proto.ColStr))
	var id, duplicateOf, offset, owner proto.ColUInt64
	var severity proto.ColEnum8
	var createdAt, logTime proto.ColInt64
	var score proto.ColUInt8
	var alerts, partition proto.ColUInt16
	for i := range rows {
		r := &rows[i]
		tenant.Append(string(r.Tenant))
		keyID.Append(r.KeyID)
		id.Append(uint64(r.ID))
		eventID.Append(r.EventID)
		eventType.Append(r.Type)
		severity.Append(proto.Enum8(r.Severity))
		sourceIP.Append(r.SourceIP)
		actor.Append(r.Actor)
		details.AppendBytes(r.Details)
		createdAt.Append(int64(r.CreatedAt))
		score.Append(uint8(r.Score))
		alerts.Append(uint16(len(r.Alerts)))
		duplicateOf.Append(uint64(r.DuplicateOf))
		partition.Append(3)
		offset.Append(uint64(r.Offset))
		logTime.Append(int64(r.LogTime))
		owner.Append(1)
		only.Append("")
	}
	for _, c := range []*proto.ColLowCardinality[string]{tenant, eventType, only} {
		_ = c.Prepare() // never fails
	}
}
