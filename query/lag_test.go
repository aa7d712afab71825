package query

import (
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestLag writes events to the log that the tables do not have: the first of them has waited longest.
func TestLag(t *testing.T) {
	a := newAPI(t)
	client, log := brokertest.Start(t, 2)
	now := time.Now()
	lag := NewLag(client, a.db, log, func() time.Time { return now })
	behind := func(want time.Duration) {
		t.Helper()
		now = now.Add(lagAge)
		if got, err := lag.Behind(t.Context()); err != nil || got != want {
			t.Errorf("behind %v (%v), want %v", got, err, want)
		}
	}
	behind(0)
	to := broker.NewAppend(client, schema.TopicEvents, 1, broker.DefaultProducerConfig())
	for i := range 3 {
		e := schema.Event{Tenant: "demo", KeyID: "k", Type: "export", Severity: schema.Nominal, CreatedAt: schema.MillisOf(now) + schema.Millis(i*1000)}
		if _, err := to.Records(t.Context(), broker.Record{Key: schema.RecordKey("demo", "k"), Value: e.AppendValue(nil), Time: e.CreatedAt}); err != nil {
			t.Fatal(err)
		}
	}
	began := schema.MillisOf(now).Time()
	now = began.Add(10 * time.Second)
	behind(10*time.Second + lagAge)
	a.insert(row{id: schema.EventID(log.Base, 0, 1)})
	behind(9*time.Second + 2*lagAge)
	a.insert(row{id: schema.EventID(log.Base, 1, 1)}, row{id: schema.EventID(log.Base, 2, 1)})
	behind(0)
}
