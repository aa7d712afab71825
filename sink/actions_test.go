package sink_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/broker"
	"keypulse/schema"
)

var alertActions = []schema.AlertAction{schema.AlertAck, schema.AlertResolve, schema.AlertReopen}

// act writes an action on an alert.
func (f *feed) act() {
	f.t.Helper()
	r := schema.AlertActionRecord{
		Tenant: "demo", AlertID: fmt.Sprint("al_", f.acted%7), RaisedAt: 1000, Action: alertActions[f.random.IntN(3)], By: "ak_1",
		Comment: fmt.Sprintf("no. %d: \"ü\"\n", f.acted), At: schema.Millis(2000 + f.acted),
	}
	value, err := json.Marshal(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.writeAction(schema.RecordKey(r.Tenant, r.AlertID), value)
	f.acted++
}

func (f *feed) writeAction(key, value []byte) {
	f.t.Helper()
	if _, err := f.actions.Records(context.Background(), broker.Record{Key: key, Value: value, Time: 1}); err != nil {
		f.t.Fatal(err)
	}
}

// verifyActions checks that every action is stored, in the order of the log.
func (f *feed) verifyActions(db driver.Conn) {
	f.t.Helper()
	const read = `SELECT action, comment, toUnixTimestamp64Milli(at), alert_id, by, toUnixTimestamp64Milli(raised_at)
		FROM alert_actions ORDER BY kafka_offset LIMIT 1 BY kafka_offset`
	rows, err := db.Query(f.t.Context(), read)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var action, comment, alert, by string
		var at, raisedAt int64
		if err := rows.Scan(&action, &comment, &at, &alert, &by, &raisedAt); err != nil {
			f.t.Fatal(err)
		}
		if comment != fmt.Sprintf("no. %d: \"ü\"\n", n) || at != int64(2000+n) || alert != fmt.Sprint("al_", n%7) || by != "ak_1" || raisedAt != 1000 {
			f.t.Errorf("action %d is %s of %s: %q at %d by %s, raised at %d", n, action, alert, comment, at, by, raisedAt)
		}
	}
	if err := rows.Err(); err != nil || n != f.acted {
		f.t.Errorf("%d actions are stored, want %d: %v", n, f.acted, err)
	}
}

// TestActionsThatCannotBeReadArePassedOver puts records among the actions that are none.
func TestActionsThatCannotBeReadArePassedOver(t *testing.T) {
	f, _, _, db, c := setUp(t)
	for range 2 {
		stop := start(t, newSink(c, f.log, db))
		f.writeAction([]byte("x"), []byte("{"))
		f.act()
		f.writeAction(schema.RecordKey("demo", "al_1"), []byte(`{"tenant":"demo","alert_id":"al_2","action":"ack"}`))
		f.act()
		f.writeAction(schema.RecordKey("demo", "al_1"), []byte(`{"tenant":"demo","alert_id":"al_1","action":"open"}`))
		f.await(db)
		stop()
		f.verifyActions(db)
	}
}
