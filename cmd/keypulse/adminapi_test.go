package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// adminOf is a client of an instance's admin API with a new admin key of a tenant.
func adminOf(t *testing.T, in *instance, tenant string) *instance {
	t.Helper()
	var made struct {
		APIKey string `json:"api_key"`
	}
	text := output(t, in.settings, "apikey", "create", "--tenant", tenant, "--name", "admin", "--scopes", "admin", "--rate-limit", "0", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	for _, setting := range in.settings {
		if address, ok := strings.CutPrefix(setting, "KEYPULSE_ADMIN_LISTEN="); ok {
			return &instance{t: t, url: "http://" + address, apiKey: made.APIKey}
		}
	}
	t.Fatal("no admin listener")
	return nil
}

// adminKey is an API key as the admin API shows it.
type adminKey struct {
	ID            string
	Version       int64
	Name          string
	RateLimit     int `json:"rate_limit"`
	Scopes        []string
	Status        string
	PreviousUntil *string `json:"previous_until"`
	APIKey        string  `json:"api_key"`
}

// ask sends a request that must be answered so, and reads the API key in the answer.
func (in *instance) ask(method, path, body string, status int) (k adminKey) {
	in.t.Helper()
	r := in.call(method, path, body)
	if r.status != status {
		in.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
	}
	if strings.Contains(string(r.body), "hmac") {
		in.t.Errorf("%s %s shows an HMAC: %s", method, path, r.body)
	}
	_ = json.Unmarshal(r.body, &k)
	return k
}

func TestAdminAPI(t *testing.T) {
	in := upAndReady(t)
	const keys = "/api/admin/api-keys"
	a := adminOf(t, in, "demo")
	other := adminOf(t, in, "other")
	awaitKey(t, a, http.StatusOK)
	awaitKey(t, other, http.StatusOK)

	made := a.ask("POST", keys, `{"name": "made by API", "rate_limit": 7, "scopes": ["read"]}`, http.StatusCreated)
	if made.Version != 1 || made.RateLimit != 7 || made.Status != "active" || len(made.Scopes) != 1 || made.APIKey == "" {
		t.Errorf("made %+v", made)
	}
	own := keys + "/" + made.ID
	client := &instance{t: t, url: in.url, apiKey: made.APIKey}
	if r := client.call("GET", "/api/events?limit=1", ""); r.status != 200 || r.header.Get("X-RateLimit-Limit") != "7" {
		t.Errorf("the new key: %d, limit %s", r.status, r.header.Get("X-RateLimit-Limit"))
	}
	if shown := a.ask("GET", own, "", 200); shown.APIKey != "" || shown.Name != "made by API" {
		t.Errorf("shown %+v", shown)
	}

	changed := a.ask("PATCH", own, `{"version": 1, "rate_limit": 3, "name": "renamed"}`, 200)
	if changed.Version != 2 || changed.RateLimit != 3 || changed.Name != "renamed" || changed.Scopes[0] != "read" {
		t.Errorf("changed %+v", changed)
	}
	a.ask("PATCH", own, `{"version": 1, "rate_limit": 4}`, http.StatusConflict)
	if r := client.call("GET", "/api/events?limit=1", ""); r.header.Get("X-RateLimit-Limit") != "3" || r.header.Get("X-RateLimit-Remaining") != "1" {
		t.Errorf("after the change: %v", r.header)
	}
	a.ask("PATCH", own, `{"version": 2, "rate_limit": 0}`, 200)

	rotated := a.ask("POST", own+"/rotate", `{"overlap_seconds": 3600}`, 200)
	if rotated.APIKey == "" || rotated.APIKey == made.APIKey || rotated.PreviousUntil == nil {
		t.Errorf("rotated %+v", rotated)
	}
	awaitStatus(t, in, made.APIKey, 200)
	awaitStatus(t, in, rotated.APIKey, 200)

	a.ask("PATCH", own, `{"version": 4, "status": "inactive"}`, 200)
	awaitStatus(t, in, rotated.APIKey, http.StatusForbidden)
	a.ask("PATCH", own, `{"version": 5, "status": "active"}`, 200)
	awaitStatus(t, in, rotated.APIKey, 200)
	a.ask("POST", own+"/revoke", "", 200)
	a.ask("POST", own+"/revoke", "", 200)
	awaitStatus(t, in, rotated.APIKey, http.StatusForbidden)
	a.ask("POST", own+"/rotate", "", http.StatusConflict)

	t.Run("another tenant's keys are not there", func(t *testing.T) {
		other.t = t
		for _, path := range []string{"GET " + own, "PATCH " + own, "POST " + own + "/rotate", "POST " + own + "/revoke"} {
			method, path, _ := strings.Cut(path, " ")
			other.ask(method, path, `{}`, http.StatusNotFound)
		}
		if r := other.call("GET", keys, ""); strings.Contains(string(r.body), made.ID) || strings.Count(string(r.body), `"id"`) != 1 {
			t.Errorf("the other tenant sees %s", r.body)
		}
	})
	t.Run("who may not", func(t *testing.T) {
		for key, status := range map[string]int{in.apiKey: 403, "": 401, "kp_live_x": 401} {
			stranger := &instance{t: t, url: a.url, apiKey: key}
			stranger.ask("GET", keys, "", status)
			stranger.ask("POST", keys, `{"name": "x"}`, status)
		}
		// The document has this path; it is another listener's.
		if r := (&instance{t: t, url: in.url, apiKey: a.apiKey, client: http.DefaultClient}).call("GET", keys, ""); r.status != 404 {
			t.Errorf("the clients' listener answers %d", r.status)
		}
	})
	t.Run("the audit", func(t *testing.T) {
		const lines = `SELECT action || ' ' || outcome || ' ' || toString(version) AS line, by, remote != '', request_id != ''
			FROM audit WHERE tenant = 'demo' AND target = '%s' ORDER BY kafka_offset LIMIT 1 BY kafka_offset FORMAT TSV`
		admin := strings.Fields(in.askClickHouse("SELECT target FROM audit WHERE tenant = 'demo' AND outcome = 'done' AND by LIKE 'cli:%' ORDER BY kafka_offset DESC LIMIT 1"))[0]
		var want strings.Builder
		for i, action := range []string{"create", "change", "change", "rotate", "change", "change", "revoke"} {
			for _, outcome := range []string{"begun", "done"} {
				fmt.Fprintf(&want, "%s %s %d\t%s\t1\t1\n", action, outcome, i+1, admin)
			}
		}
		await(t, "the audit", 20*time.Second, func() error {
			if got := in.askClickHouse(fmt.Sprintf(lines, made.ID)); got != want.String() {
				return fmt.Errorf("it has\n%swant\n%s", got, want.String())
			}
			return nil
		})
		await(t, "the refusals", 20*time.Second, func() error {
			got := in.askClickHouse("SELECT changes, count() FROM (SELECT DISTINCT kafka_offset, changes FROM audit WHERE outcome = 'refused' AND remote != '') GROUP BY changes ORDER BY changes FORMAT TSV")
			if got != "insufficient_scope\t2\nunauthorized\t4\n" {
				return fmt.Errorf("it has %s", got)
			}
			return nil
		})
		if got := in.askClickHouse("SELECT count() FROM audit WHERE changes ILIKE '%hmac%' OR changes LIKE '%kp_live%'"); got != "0\n" {
			t.Errorf("%s lines hold what is secret", got)
		}
	})
	t.Run("pages", func(t *testing.T) {
		a.t = t
		var all, paged []string
		type page struct {
			APIKeys    []adminKey `json:"api_keys"`
			NextCursor *string    `json:"next_cursor"`
			HasMore    bool       `json:"has_more"`
		}
		var whole page
		a.call("GET", keys, "").into(t, &whole)
		for _, k := range whole.APIKeys {
			all = append(all, k.ID)
		}
		for next := ""; ; {
			var p page
			a.call("GET", keys+"?limit=1"+next, "").into(t, &p)
			for _, k := range p.APIKeys {
				paged = append(paged, k.ID)
			}
			if !p.HasMore {
				break
			}
			next = "&cursor=" + *p.NextCursor
		}
		if len(all) < 3 || !slices.Equal(all, paged) {
			t.Errorf("by pages %v, at once %v", paged, all)
		}
		for _, query := range []string{"limit=0", "limit=501", "limit=01", "limit=+1", "cursor=x", "cursor=", "after=1"} {
			if r := a.call("GET", keys+"?"+query, ""); r.status != http.StatusBadRequest {
				t.Errorf("?%s: %d %s", query, r.status, r.body)
			}
		}
	})
	t.Run("what is wrong, by name", func(t *testing.T) {
		a.t = t
		r := a.call("POST", keys, `{"names": "x", "rate_limit": "7", "scopes": [1], "expires_at": "soon", "zzzzzz": 1}`)
		for _, want := range []string{
			`{"field":"names","message":"unknown field, did you mean \"name\"?"}`, `{"field":"rate_limit","message":"must be an integer"}`,
			`{"field":"scopes","message":"must be an array of strings"}`, `{"field":"expires_at","message":"must be an RFC 3339 time`, `{"field":"zzzzzz","message":"unknown field"}`,
		} {
			if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), want) {
				t.Errorf("%d %s, want %s in it", r.status, r.body, want)
			}
		}
	})
	t.Run("what is wrong", func(t *testing.T) {
		a.t = t
		for _, body := range []string{
			`{}`, `{"name": ""}`, `{"name": "x", "rate_limit": -1}`, `{"name": "x", "scopes": []}`, `{"name": "x", "scopes": ["root"]}`,
			`{"name": "x", "tenant": "other"}`, `{"name": "x", "expires_at": "2020-01-01T00:00:00Z"}`, `{"name": 1}`, `[]`, `{`,
		} {
			a.ask("POST", keys, body, http.StatusBadRequest)
		}
		a.ask("POST", own+"x/rotate", `{"overlap_seconds": 1}`, http.StatusNotFound)
		fresh := a.ask("POST", keys, `{"name": "x"}`, http.StatusCreated)
		for _, overlap := range []int{-1, 90*24*3600 + 1} {
			a.ask("POST", keys+"/"+fresh.ID+"/rotate", `{"overlap_seconds": `+strconv.Itoa(overlap)+`}`, http.StatusBadRequest)
		}
	})
}

// awaitKey waits until an admin key is known.
func awaitKey(t *testing.T, admin *instance, status int) {
	t.Helper()
	for range 1000 {
		if r := admin.call("GET", "/api/admin/api-keys", ""); r.status == status {
			return
		}
	}
	t.Fatal("the admin key is not known")
}

// askClickHouse asks the instance's ClickHouse over HTTP.
func (in *instance) askClickHouse(statement string) string {
	in.t.Helper()
	var data, listen string
	for _, setting := range in.settings {
		if v, ok := strings.CutPrefix(setting, "KEYPULSE_DATA="); ok {
			data = v
		}
		if v, ok := strings.CutPrefix(setting, "KEYPULSE_CLICKHOUSE_HTTP_LISTEN="); ok {
			listen = v
		}
	}
	password, err := os.ReadFile(filepath.Join(data, "clickhouse", "password"))
	if err != nil {
		in.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, "http://"+listen+"/?database=keypulse", strings.NewReader(statement))
	if err != nil {
		in.t.Fatal(err)
	}
	req.SetBasicAuth("keypulse", strings.TrimSpace(string(password)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		in.t.Fatalf("%s: %d %s %v", statement, res.StatusCode, text, err)
	}
	return string(text)
}
