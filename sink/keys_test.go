package sink_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// TestKeysAreCopied writes what is said of keys, also by writers who have lost a race, skipped a version or write nonsense, while
// sinks start and stop: the table has of each key what the log says, and the verification knows it.
func TestKeysAreCopied(t *testing.T) {
	f, _, _, db, c := setUp(t)
	topic := broker.NewAppend(c, schema.TopicKeys, 0, broker.DefaultProducerConfig())
	write := func(key, value []byte) {
		t.Helper()
		if _, err := topic.Records(context.Background(), broker.Record{Key: key, Value: value, Time: 1}); err != nil {
			t.Fatal(err)
		}
	}
	version, want := map[string]int64{}, map[string]string{}
	for round := range 3 {
		stop := start(t, newSink(c, f.log, db))
		for i := range 60 {
			key := fmt.Sprint("key-", f.random.IntN(8))
			r := schema.KeyRecord{
				Tenant: "demo", KeyID: key, Version: version[key] + int64(f.random.IntN(4)) - 1, Name: fmt.Sprintf("name %d.%d \"ü\"", round, i),
				KeyType: "hsm_key", Status: schema.KeyStatusActive, Tags: []string{"a", key}, By: "ak_1", At: 1000,
			}
			value, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			write(schema.RecordKey(r.Tenant, key), value)
			if r.Version == version[key]+1 {
				version[key], want[key] = r.Version, r.Name
			}
			if i%10 == 0 {
				write([]byte("x"), []byte("{"))
			}
		}
		if round == 1 { // in the middle of it
			stop()
			continue
		}
		f.await(db)
		stop()
	}
	got := map[string]string{}
	rows, err := db.Query(t.Context(), "SELECT key_id, name FROM described_keys WHERE tags = ['a', key_id] ORDER BY version DESC LIMIT 1 BY tenant, key_id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, name string
		if err := rows.Scan(&key, &name); err != nil {
			t.Fatal(err)
		}
		got[key] = name
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.verifyProofs(db)
	exec1(t, db, "DELETE FROM described_keys WHERE key_id = 'key-1'")
	if r := f.report(db); r.Missing+r.NotYet != version["key-1"] {
		t.Errorf("%d are missing, %d not yet there, want the %d versions of key-1", r.Missing, r.NotYet, version["key-1"])
	}
	exec1(t, db, fmt.Sprintf("INSERT INTO described_keys (tenant, key_id, version) VALUES ('demo', 'key-1', %d)", version["key-1"]+100))
	if r := f.report(db); r.Doubled == 0 {
		t.Errorf("got %+v, want versions that nobody wrote", r)
	}
}
