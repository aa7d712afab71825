package query

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"keypulse/schema"
)

// at is a time so many minutes before noon.
func at(minutes int) schema.Millis {
	return schema.MillisOf(noon.Add(-time.Duration(minutes) * time.Minute))
}

func TestActivity(t *testing.T) {
	a := newAPI(t, func(cfg *Config) {
		cfg.Behind = func(context.Context) (time.Duration, error) { return 400 * time.Millisecond, nil }
	})
	event := func(key string, minutes int, severity schema.Severity) schema.Event {
		return schema.Event{KeyID: key, Severity: severity, CreatedAt: at(minutes)}
	}
	a.insert(
		row{id: 1, event: event("k", 3, schema.Nominal)}, row{id: 2, event: event("k", 3, schema.Critical)},
		row{id: 3, event: event("j", 3, schema.Nominal)}, row{id: 4, event: event("k", 90, schema.Warning)},
		row{id: 5, event: event("k", 3, schema.Nominal), duplicateOf: 1},
		row{id: 6, tenant: "other", event: event("k", 3, schema.Nominal)},
	)
	a.exec(`INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, rule_version, severity, hits, last_at)
		VALUES ('demo', '2026-04-05 12:31:00', 'al_1', 'k', 'r', 1, 3, 1, '2026-04-05 12:31:00'), ('demo', '2026-04-05 12:31:00', 'al_1', '', '', 0, 0, 2, '2026-04-05 12:32:00')`)
	type step struct {
		At                                 string
		Nominal, Warning, Critical, Alerts int
	}
	steps := func(query string) []step {
		t.Helper()
		var answer struct {
			Activity []step
			BehindMS int `json:"behind_ms"`
		}
		if err := json.Unmarshal(a.get("demo", "/api/activity?"+query), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.BehindMS != 400 {
			t.Errorf("behind_ms %d", answer.BehindMS)
		}
		return answer.Activity
	}
	equal(t, "all keys", steps(""), []step{{"2026-04-05T12:31:00.000Z", 2, 0, 1, 1}})
	equal(t, "one key", steps("key_id=k"), []step{{"2026-04-05T12:31:00.000Z", 1, 0, 1, 1}})
	equal(t, "another", steps("key_id=j"), []step{{"2026-04-05T12:31:00.000Z", 1, 0, 0, 0}})
	hours := []step{{"2026-04-05T11:00:00.000Z", 0, 1, 0, 0}, {"2026-04-05T12:00:00.000Z", 2, 0, 1, 1}}
	equal(t, "hours", steps("step=3600&since=2026-04-05T11:40:00Z"), hours)
	hours[1].Nominal = 1
	equal(t, "hours of a key", steps("step=3600&since=2026-04-05T11:40:00Z&key_id=k"), hours)
	equal(t, "before", steps("until=2026-04-05T11:04:00Z&since=2026-04-05T11:03:59Z"), nil)
	for _, bad := range []string{"step=61", "step=0", "since=x", "since=2026-04-01T00:00:00Z", "key_id="} {
		a.refuse("demo", http.MethodGet, "/api/activity?"+bad, "", http.StatusBadRequest, "errors")
	}

	var keys struct {
		Keys []struct {
			KeyID    string `json:"key_id"`
			Activity []int
		}
	}
	if err := json.Unmarshal(a.get("demo", "/api/keys?limit=10&activity=true"), &keys); err != nil {
		t.Fatal(err)
	}
	want := make([]int, 24)
	want[23], want[22] = 2, 1
	if len(keys.Keys) != 2 || keys.Keys[1].KeyID != "k" || !slices.Equal(keys.Keys[1].Activity, want) {
		t.Errorf("keys %+v, want %v for k", keys.Keys, want)
	}
	a.refuse("demo", http.MethodGet, "/api/keys?activity=true", "", http.StatusBadRequest, "goes with limit")
}

func TestShowKey(t *testing.T) {
	a := newAPI(t)
	event := func(key, kind, actor, ip string, minutes int) schema.Event {
		return schema.Event{KeyID: key, Type: kind, Actor: actor, SourceIP: ip, CreatedAt: at(minutes)}
	}
	a.insert(
		row{id: 1, event: event("a/b", "export", "alice", "10.0.0.1", 3)}, row{id: 2, event: event("a/b", "export", "bob", "", 2)},
		row{id: 3, event: event("a/b", "rotation", "bob", "10.0.0.1", 1)}, row{id: 4, event: event("a/b", "rotation", "old", "", 31*24*60)},
		row{id: 5, event: event("c", "export", "carol", "", 1)},
	)
	var key struct {
		KeyID      string `json:"key_id"`
		EventCount int    `json:"event_count"`
		Actors     []struct {
			Name       string
			EventCount int    `json:"event_count"`
			Last       string `json:"last_activity"`
		}
		SourceIPs  []struct{ Name string } `json:"source_ips"`
		EventTypes []struct{ Name string } `json:"event_types"`
	}
	if err := json.Unmarshal(a.get("demo", "/api/keys/a%2Fb"), &key); err != nil {
		t.Fatal(err)
	}
	if key.KeyID != "a/b" || key.EventCount != 4 || len(key.Actors) != 2 || key.Actors[0].Name != "bob" || key.Actors[0].EventCount != 2 ||
		key.Actors[0].Last != "2026-04-05T12:33:00.000Z" || len(key.SourceIPs) != 1 || len(key.EventTypes) != 2 {
		t.Errorf("the key %+v", key)
	}
	a.refuse("demo", http.MethodGet, "/api/keys/none", "", http.StatusNotFound)
	a.refuse("other", http.MethodGet, "/api/keys/c", "", http.StatusNotFound)
}

func TestAlertsOfAnEvent(t *testing.T) {
	a := newAPI(t)
	a.exec(`INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, rule_version, severity, event_id, hits, last_event_id, last_at) VALUES
		('demo', '2026-04-05 12:31:00', 'al_1', 'k', 'r', 1, 3, 7, 1, 7, '2026-04-05 12:31:00'),
		('demo', '2026-04-05 12:31:00', 'al_1', '', '', 0, 0, 0, 2, 9, '2026-04-05 12:32:00'),
		('demo', '2026-04-05 12:32:00', 'al_2', 'k', 's', 1, 3, 9, 1, 9, '2026-04-05 12:32:00'),
		('other', '2026-04-05 12:32:00', 'al_3', 'k', 's', 1, 3, 9, 1, 9, '2026-04-05 12:32:00')`)
	ids := func(query string) (all []string) {
		for _, alert := range a.list("demo", "/api/alerts?"+query).Alerts {
			all = append(all, alert.ID)
		}
		return all
	}
	equal(t, "raised and hit", ids("event_id=9"), []string{"al_2", "al_1"})
	equal(t, "raised", ids("event_id=7"), []string{"al_1"})
	equal(t, "nothing", ids("event_id=8"), nil)
}
