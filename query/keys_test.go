package query

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keypulse/schema"
)

func TestKeysGolden(t *testing.T) {
	a := newAPI(t)
	golden(t, "keys_empty.golden.json", a.get("demo", "/api/keys"))
	at := func(id int64, tenant schema.Tenant, key string, after time.Duration) row {
		return row{id: id, tenant: tenant, event: schema.Event{KeyID: key, CreatedAt: schema.MillisOf(noon.Add(after))}}
	}
	a.insert(at(1, "demo", "Production Signing Key", 0), at(2, "demo", "backup", time.Second))
	a.insert(at(3, "demo", "Production Signing Key", -time.Hour), at(4, "other", "Production Signing Key", 0))
	duplicate := at(5, "demo", "Production Signing Key", 0)
	duplicate.duplicateOf = 1
	a.insert(duplicate)
	one := raised("demo", "al_1", "backup", "r1", schema.Critical, 0)
	a.insertAlerts(one, one, hit(one, 2, 6, 0), raised("demo", "al_2", "backup", "r1", schema.Critical, 0),
		raised("other", "al_3", "backup", "r1", schema.Critical, 0))
	golden(t, "keys.golden.json", a.get("demo", "/api/keys"))
	golden(t, "keys.golden.json", a.get("demo", "/api/keys?limit=2"))
	golden(t, "keys_page.golden.json", a.get("demo", "/api/keys?limit=1"))
}

// TestKeysHaveTheMembersOfTheReference holds the first members of a key against the reference's example.
func TestKeysHaveTheMembersOfTheReference(t *testing.T) {
	a := newAPI(t)
	a.insert(example())
	want := fmt.Sprintf(`{"success":true,"keys":[{"id":%d,"name":"my-signing-key-01","key_type":"unknown","status":"active",`+
		`"event_count":1,"last_activity":"2026-04-05T12:34:00.000Z"`, schema.KeyNumber("demo", "my-signing-key-01"))
	if got := string(a.get("demo", "/api/keys")); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want it to start with %s", got, want)
	}
}

func TestKeysFilters(t *testing.T) {
	a := newAPI(t)
	for i, key := range []string{"b", "a", "B", "é", "100%_\\"} {
		a.insert(row{id: int64(i + 1), event: schema.Event{KeyID: key}})
	}
	f := func(query string, want ...string) {
		t.Helper()
		var keys []string
		for _, k := range a.list("demo", "/api/keys?"+query).Keys {
			keys = append(keys, k.KeyID)
		}
		equal(t, query, keys, want)
	}
	f("", "100%_\\", "B", "a", "b", "é")
	f("limit=2", "100%_\\", "B")
	f("limit=500&q=b", "B", "b")
	f("q=%C3%89", "é")
	f("q=%25_%5C", "100%_\\")
	f("q=%25a")
	f("cursor="+place{name: "a"}.cursor(listKeys), "b", "é")
	for _, query := range []string{"limit=0", "limit=501", "limit=", "q=", "cursor=x", "cursor=" + place{}.cursor(listEvents), "status=", "key_id=a"} {
		a.refuse("demo", http.MethodGet, "/api/keys?"+query, "", http.StatusBadRequest)
	}
}

// TestKeysStreamed reads more keys than one chunk, one block or one page holds.
func TestKeysStreamed(t *testing.T) {
	const n = 100_000
	a := newAPI(t)
	a.exec(fmt.Sprintf(`INSERT INTO landing (tenant, key_id, id, event_type, severity, created_at, log_time)
		SELECT 'demo', leftPad(toString(number), 9, '0'), number, 'x', 'nominal', toDateTime64('2026-04-05 12:34:00', 3, 'UTC') AS at, at
		FROM numbers(%d)`, n))
	resp, err := a.http.Do(a.request("demo", http.MethodGet, "/api/keys", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ContentLength != -1 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got length %d and type %q, want a JSON stream", resp.ContentLength, resp.Header.Get("Content-Type"))
	}
	var l listed
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	if len(l.Keys) != n || l.HasMore || l.NextCursor != nil {
		t.Fatalf("got %d keys, has_more %v, want %d", len(l.Keys), l.HasMore, n)
	}
	for i, k := range l.Keys {
		if want := fmt.Sprintf("%09d", i); k.KeyID != want || k.EventCount != 1 {
			t.Fatalf("key %d: got %+v, want %s", i, k, want)
		}
	}
}

// TestKeysStreamCut wants a client to see that a stream has ended before its end. The list is larger than what lies in
// the sockets' buffers, so the statement still runs when it is killed.
func TestKeysStreamCut(t *testing.T) {
	a := newAPI(t)
	a.exec(`INSERT INTO landing (tenant, key_id, id, event_type, severity, created_at, log_time)
		SELECT 'demo', concat(hex(SHA256(toString(number))), hex(SHA256(toString(-number)))), number, 'x', 'nominal',
			toDateTime64('2026-04-05 12:34:00', 3, 'UTC') AS at, at
		FROM numbers(300000)`)
	req := a.request("demo", http.MethodGet, "/api/keys", "")
	req.Header.Set("X-Request-Id", t.Name())
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || a.running(t.Name()) != 1 {
		t.Fatalf("got status %d and %d statements, want 200 and 1", resp.StatusCode, a.running(t.Name()))
	}
	a.exec("KILL QUERY WHERE startsWith(query_id, '" + t.Name() + ".') ASYNC")
	var l listed
	if err := json.NewDecoder(resp.Body).Decode(&l); err == nil {
		t.Errorf("got a whole list of %d keys from a statement that was killed", len(l.Keys))
	}
}

// TestKeysStreamLeft wants nothing to run on when nobody reads: after HEAD, and when the client leaves in the middle.
func TestKeysStreamLeft(t *testing.T) {
	a := newAPI(t)
	a.exec(`INSERT INTO landing (tenant, key_id, id, event_type, severity, created_at, log_time)
		SELECT 'demo', concat(hex(SHA256(toString(number))), hex(SHA256(toString(-number)))), number, 'x', 'nominal',
			toDateTime64('2026-04-05 12:34:00', 3, 'UTC') AS at, at
		FROM numbers(300000)`)
	f := func(method string) {
		t.Helper()
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		req := a.request("demo", method, "/api/keys", "").WithContext(ctx)
		req.Header.Set("X-Request-Id", t.Name())
		resp, err := a.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d, want 200", method, resp.StatusCode)
		}
		leave()
		a.eventually("no statement runs after "+method, func() bool { return a.running(t.Name()) == 0 })
	}
	f(http.MethodGet)
	f(http.MethodHead)
}
