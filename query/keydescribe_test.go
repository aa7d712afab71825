package query

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"keypulse/schema"
)

// keyLog stands for the topic: it hands each record to the keyring as a follower does, in one order.
type keyLog struct {
	mu     sync.Mutex
	next   int64
	ring   *Keyring
	before func(r schema.KeyRecord) // is called once before the next record is written
}

func (l *keyLog) append(_ context.Context, r schema.KeyRecord) (int64, error) {
	l.mu.Lock()
	before := l.before
	l.before = nil
	l.mu.Unlock()
	if before != nil {
		before(r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	value, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	offset := l.next
	l.next++
	_ = l.ring.Apply(offset, schema.RecordKey(r.Tenant, r.KeyID), value)
	return offset, nil
}

// newKeysAPI is newAPI with keys that can be described.
func newKeysAPI(t *testing.T) (*api, *keyLog) {
	l := &keyLog{ring: NewKeyring()}
	return newAPI(t, func(cfg *Config) { cfg.Keyring, cfg.AppendKey = l.ring, l.append }), l
}

// put describes a key of demo and wants 200.
func (a *api) put(keyID, body string) []byte {
	a.t.Helper()
	status, got := a.do("demo", http.MethodPut, "/api/keys/"+url.PathEscape(keyID), body)
	if status != http.StatusOK {
		a.t.Fatalf("PUT %s %s: got %d %s", keyID, body, status, got)
	}
	return got
}

func (a *api) keyIDs(query string) []string {
	a.t.Helper()
	var ids []string
	for _, k := range a.list("demo", "/api/keys?"+query).Keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

func TestDescribeKey(t *testing.T) {
	a, _ := newKeysAPI(t)
	golden(t, "key_new.golden.json", a.put("treasury-1", `{"name":"Treasury","key_type":"mpc_shard","status":"active","tags":["eu","cold"],"rotation_period":"90d"}`))
	a.insert(row{id: 1, event: schema.Event{KeyID: "treasury-1"}}, row{id: 2, event: schema.Event{KeyID: "zoo"}})
	one := raised("demo", "al_1", "treasury-1", "r1", schema.Critical, 0)
	a.insertAlerts(one)
	golden(t, "keys_described.golden.json", a.get("demo", "/api/keys"))
	golden(t, "keys_described.golden.json", a.get("demo", "/api/keys?limit=10"))
	golden(t, "key_again.golden.json", a.put("treasury-1", `{"status":"retired","version":1}`))
	odd := "a/b c\t\\'\"☃%"
	if got := a.put(odd, `{"name":"odd","tags":null}`); !strings.Contains(string(got), `"name":"odd"`) {
		t.Errorf("got %s", got)
	}
	a.insert(row{id: 3, event: schema.Event{KeyID: odd}})
	if l := a.list("demo", "/api/keys?q=odd"); len(l.Keys) != 1 || l.Keys[0].KeyID != odd || l.Keys[0].EventCount != 1 {
		t.Errorf("got %+v, want the odd key with its event", l.Keys)
	}
	if l := a.list("other", "/api/keys"); len(l.Keys) != 0 {
		t.Errorf("another tenant sees %+v", l.Keys)
	}
}

func TestDescribeKeyRefuses(t *testing.T) {
	a, l := newKeysAPI(t)
	f := func(body string, status int, words ...string) {
		t.Helper()
		a.refuse("demo", http.MethodPut, "/api/keys/k", body, status, words...)
	}
	f("", 400, "Malformed")
	f("[]", 400, "object")
	f("{} {}", 400, "object")
	f(`{"name":"a","name":"b"}`, 400)
	f(`{"nam":"a"}`, 400, `did you mean \"name\"`)
	f(`{"name":""}`, 400, `"field":"name"`)
	f(`{"name":"a\nb","status":1}`, 400, `"field":"name"`, `"field":"status"`)
	f(`{"key_type":"`+strings.Repeat("x", 65)+`"}`, 400, "64 bytes")
	f(`{"tags":"a"}`, 400, "array")
	f(`{"tags":["a","a",1]}`, 400, "tags[1]", "twice", "tags[2]")
	f(`{"rotation_period":"soon"}`, 400, "90d")
	f(`{"rotation_period":"0d"}`, 400, "90d")
	f(`{"version":1}`, 409, `"current_version":0`)
	f(`{"version":-1}`, 400)
	a.put("k", "{}")
	f(`{"version":0}`, 409, `"current_version":1`)
	a.refuse("reader", http.MethodPut, "/api/keys/k", "{}", 403)
	a.refuse("", http.MethodPut, "/api/keys/k", "{}", 401)
	a.refuse("demo", http.MethodPut, "/api/keys/"+strings.Repeat("x", 257), "{}", 400, "256")
	a.refuse("demo", http.MethodPut, "/api/keys/a%00b", "{}", 400, "U+0000")
	a.refuse("demo", http.MethodPut, "/api/keys/k?x=1", "{}", 400)

	l.before = func(r schema.KeyRecord) { // somebody is faster
		r.Name = "faster"
		if _, err := l.append(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	f(`{"name":"slower"}`, 409, `"current_version":2`)
	l.ring.max = 1
	a.refuse("demo", http.MethodPut, "/api/keys/k2", "{}", 400, codeKeyLimit)
	a.put("k", `{"name":"still"}`)
}

// TestKeysByNameAreTheSet walks all keys, page by page and streamed, described and not, against a sorted list.
func TestKeysByNameAreTheSet(t *testing.T) {
	a, _ := newKeysAPI(t)
	random := rand.New(rand.NewPCG(1, 2))
	names := map[string]string{} // by key_id
	var rows []row
	const n = 120
	for i := range n {
		key := fmt.Sprintf("key-%03d", i)
		described := random.IntN(3) > 0
		if described {
			names[key] = fmt.Sprintf("%c%s-%02d", "Akz"[random.IntN(3)], "ey"[:random.IntN(3)], random.IntN(20))
			if random.IntN(5) == 0 {
				names[key] = fmt.Sprintf("key-%03d", random.IntN(n)) // another key's id, or its own
			}
			a.put(key, fmt.Sprintf(`{"name":%q,"status":%q}`, names[key], []string{"active", "retired"}[i%2]))
		}
		if !described || random.IntN(2) == 0 {
			rows = append(rows, row{id: int64(i + 1), event: schema.Event{KeyID: key}})
			if !described {
				names[key] = key
			}
		}
	}
	a.insert(rows...)
	want := make([]keyPlace, 0, n)
	for key, name := range names {
		want = append(want, keyPlace{name, key})
	}
	slices.SortFunc(want, keyPlace.compare)
	var ids []string
	for _, p := range want {
		ids = append(ids, p.keyID)
	}
	equal(t, "streamed", a.keyIDs(""), ids)
	for _, limit := range []int{1, 7, 119, 120, 121} {
		var got []string
		for next := ""; ; {
			page := a.list("demo", fmt.Sprintf("/api/keys?limit=%d%s", limit, next))
			for _, k := range page.Keys {
				got = append(got, k.KeyID)
			}
			if !page.HasMore {
				break
			}
			next = "&cursor=" + *page.NextCursor
		}
		equal(t, fmt.Sprint("limit ", limit), got, ids)
	}
	active, retired := a.keyIDs("status=active"), a.keyIDs("status=retired")
	if len(active)+len(retired) != n || len(retired) == 0 {
		t.Errorf("got %d active and %d retired keys, want %d together", len(active), len(retired), n)
	}
	equal(t, "page of active", a.keyIDs("status=active&limit=500"), active)
	a.refuse("demo", http.MethodGet, "/api/keys?cursor="+place{id: 3, name: "ab"}.cursor(listKeys), "", 400, "cursor")
}
