package judged_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/judged"
	"keypulse/schema"
)

// partition is a log of one partition that tests write as ingest and the processor would.
type partition struct {
	*testing.T
	client   *broker.Client
	log      schema.LogRecord
	events   *broker.Append
	verdicts *broker.Append
}

func newPartition(t *testing.T) *partition {
	t.Helper()
	c, log := brokertest.Start(t, 1)
	return &partition{
		T: t, client: c, log: log,
		events:   broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig()),
		verdicts: broker.NewAppend(c, schema.TopicVerdicts, 0, broker.DefaultProducerConfig()),
	}
}

// write writes n events; created_at is the offset in seconds, every third one a minute early.
func (p *partition) write(from, n int64) {
	p.Helper()
	for offset := from; offset < from+n; offset++ {
		e := schema.Event{Tenant: "demo", KeyID: "k", Type: "t", Severity: schema.Warning, EventID: fmt.Sprint(offset), CreatedAt: createdAt(offset)}
		p.append(broker.Record{Key: schema.RecordKey(e.Tenant, e.KeyID), Value: e.AppendValue(nil), Time: e.CreatedAt})
	}
}

func createdAt(offset int64) schema.Millis {
	at := schema.Millis(1_000_000 + 1000*offset)
	if offset%3 == 2 {
		at -= 60_000
	}
	return at
}

func (p *partition) append(r broker.Record) {
	p.Helper()
	if _, err := p.events.Records(p.Context(), r); err != nil {
		p.Fatal(err)
	}
}

// judge writes a verdict; the event at offset x, if it is in it, raised an alert.
func (p *partition) judge(from, to, x int64) {
	p.Helper()
	v := schema.Verdict{From: from, To: to}
	for offset := range from {
		v.LogTime = max(v.LogTime, createdAt(offset))
	}
	if from <= x && x < to {
		v.Exceptions = []schema.Exception{{Offset: x, Score: 77, Alerts: []schema.Alert{{ID: "al_x"}}}}
	}
	if _, err := p.verdicts.Records(p.Context(), broker.Record{Value: v.AppendValue(nil)}); err != nil {
		p.Fatal(err)
	}
}

// read reads rows from a position until the one at offset to-1.
func (p *partition) read(at judged.Position, to int64) ([]judged.Row, *judged.Reader) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
	defer cancel()
	r := judged.NewReader(p.client, p.log, 0, at)
	var all []judged.Row
	for r.Position().Offset < to {
		rows, err := r.Next(ctx)
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all, r
}

// check says what is wrong with the rows from..to-1 of which the one at x raised an alert.
func (p *partition) check(rows []judged.Row, from, to, x int64) {
	p.Helper()
	if int64(len(rows)) != to-from {
		p.Fatalf("%d rows from %d to %d", len(rows), from, to)
	}
	logTime := schema.Millis(0)
	for offset := range from {
		logTime = max(logTime, createdAt(offset))
	}
	for i, row := range rows {
		offset := from + int64(i)
		logTime = max(logTime, createdAt(offset))
		want, alerts := 10, 0
		if offset == x {
			want, alerts = 77, 1
		}
		if row.Offset != offset || row.EventID != fmt.Sprint(offset) || row.Score != want || len(row.Alerts) != alerts || row.LogTime != logTime || row.ID != schema.EventID(p.log.Base, offset, 0) {
			p.Errorf("row at %d: %+v", offset, row)
		}
	}
}

func TestEachEventOnceWithItsVerdict(t *testing.T) {
	p := newPartition(t)
	p.write(0, 30)
	p.judge(0, 10, 7)
	p.judge(0, 10, 7)  // again
	p.judge(5, 15, 7)  // again, with other borders
	p.judge(10, 15, 7) // nothing new
	p.judge(15, 30, 7)
	rows, r := p.read(judged.Position{}, 30)
	p.check(rows, 0, 30, 7)
	if r.Position().Offset != 30 {
		t.Errorf("at %+v", r.Position())
	}
	for from := range int64(30) { // a reader may begin anywhere, also inside a verdict
		rows, _ := p.read(judged.Position{Offset: from}, 30)
		p.check(rows, from, 30, 7)
	}
}

// TestLimitCutsVerdicts: a verdict of many events comes in parts, and each part's end is a position to go on from.
func TestLimitCutsVerdicts(t *testing.T) {
	p := newPartition(t)
	p.write(0, 100)
	p.judge(0, 100, 60)
	for limit := 1; limit < 8000; limit *= 3 {
		r := judged.NewReader(p.client, p.log, 0, judged.Position{})
		var all []judged.Row
		for len(all) < 100 {
			r.Limit(limit)
			rows, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for i := range rows {
				size += rows[i].Size()
			}
			if n := len(rows); n > 1 && size-rows[n-1].Size() >= limit {
				t.Errorf("limit %d: %d rows of %d bytes at once", limit, n, size)
			}
			all = append(all, rows...)
			if r.Position().Offset != int64(len(all)) {
				t.Errorf("limit %d: after %d rows at %+v", limit, len(all), r.Position())
			}
			if len(all)%7 == 0 { // as after a restart
				r = judged.NewReader(p.client, p.log, 0, r.Position())
			}
		}
		p.check(all, 0, 100, 60)
	}
}

func TestPositionResumes(t *testing.T) {
	p := newPartition(t)
	p.write(0, 20)
	p.judge(0, 10, -1)
	_, r := p.read(judged.Position{}, 10)
	p.judge(10, 20, 12)
	rows, _ := p.read(r.Position(), 20)
	p.check(rows, 10, 20, 12)
}

func TestExpiredIsPassedOver(t *testing.T) {
	p := newPartition(t)
	p.write(0, 30)
	p.judge(0, 10, -1)
	p.judge(10, 20, 12)
	p.judge(20, 30, -1)
	if err := p.client.DeleteBefore(t.Context(), schema.TopicEvents, 0, 15); err != nil {
		t.Fatal(err)
	}
	if err := p.client.DeleteBefore(t.Context(), schema.TopicVerdicts, 0, 1); err != nil {
		t.Fatal(err)
	}
	rows, _ := p.read(judged.Position{}, 30)
	if len(rows) != 15 || rows[0].Offset != 15 || rows[14].Offset != 29 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestUndecodableKeepsItsPlace(t *testing.T) {
	p := newPartition(t)
	p.write(0, 1)
	p.append(broker.Record{Key: []byte("no separator"), Value: []byte{0xff}, Time: createdAt(1)})
	p.judge(0, 2, -1)
	rows, _ := p.read(judged.Position{}, 2)
	if len(rows) != 2 || rows[1].DuplicateOf != rows[1].ID || rows[1].Type != "undecodable" || string(rows[1].Details) != `{"value":"/w=="}` {
		t.Errorf("%+v", rows)
	}
}

func TestGapIsAnError(t *testing.T) {
	p := newPartition(t)
	p.write(0, 30)
	p.judge(0, 10, -1)
	_, r := p.read(judged.Position{}, 10)
	p.judge(20, 30, -1)
	_, err := r.Next(t.Context())
	if err == nil || !strings.Contains(err.Error(), "verdicts have a gap: 10 to 19") {
		t.Errorf("after a gap: %v", err)
	}
}
