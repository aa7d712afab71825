package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const exportBurst = `
id: export-burst
name: Many exports in a short time
when: event_type == "export" && count("10m", event_type == "export") > 3
severity: critical
score: 40
`

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFirstTwoMinutes is what a new user does: start, paste the curl line, look, make a rule, see its alert, kill the
// process, and find everything where it was.
func TestFirstTwoMinutes(t *testing.T) {
	in := newInstance(t)
	in.start()
	await(t, "the curl line", 20*time.Second, func() error {
		if !strings.Contains(in.printed(), "curl -sS") {
			return fmt.Errorf("printed only %q", in.printed())
		}
		return nil
	})
	_, line, _ := strings.Cut(in.printed(), "  curl -sS")
	line, _, _ = strings.Cut(line, "\n")
	var first event
	pasted, err := exec.Command("sh", "-c", "curl -sS"+line).Output()
	if err != nil {
		t.Fatalf("curl -sS%s: %v", line, err)
	}
	if err := json.Unmarshal(pasted, &first); err != nil || first.KeyID != "signing-key-01" {
		t.Fatalf("the curl line answered %s", pasted)
	}
	in.ready()

	await(t, "the event in the list", 20*time.Second, func() error {
		if list := in.events("key_id=signing-key-01"); len(list) != 1 || list[0].ID != first.ID {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	await(t, "the key in the summary", 20*time.Second, func() error {
		if keys := in.call("GET", "/api/keys", "").body; !bytes.Contains(keys, []byte(`"signing-key-01"`)) {
			return fmt.Errorf("%s", keys)
		}
		return nil
	})
	await(t, "the count in the stats", 20*time.Second, func() error {
		stats := in.call("GET", "/api/stats", "").body
		if !bytes.Contains(stats, []byte(`"total_events":1,`)) {
			return fmt.Errorf("%s", stats)
		}
		return nil
	})

	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rule.yaml", exportBurst))
	for i := 1; i <= 4; i++ {
		e := in.post("signing-key-01", "export")
		if want := i / 4; e.AlertsTriggered != want || !e.Evaluated {
			t.Errorf("export %d: %+v, want %d alerts", i, e, want)
		}
	}
	in.awaitAlert("the alert", 1)

	in.kill()
	in.start()
	in.ready()
	if n := len(in.events("key_id=signing-key-01")); n != 5 {
		t.Errorf("%d events after the kill, want 5", n)
	}
	if e := in.post("signing-key-01", "export"); e.AlertsTriggered != 0 || !e.Evaluated {
		t.Errorf("the fifth export: %+v, want no second alert", e)
	}
	in.awaitAlert("the hit on the alert", 2)
}

// awaitAlert waits until there is one alert with so many hits.
func (in *instance) awaitAlert(what string, hits int) {
	in.t.Helper()
	await(in.t, what, 20*time.Second, func() error {
		var list struct {
			Alerts []struct {
				RuleID string `json:"rule_id"`
				Hits   int
			}
		}
		r := in.call("GET", "/api/alerts", "")
		r.into(in.t, &list)
		if len(list.Alerts) != 1 || list.Alerts[0].RuleID != "export-burst" || list.Alerts[0].Hits != hits {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})
}

func TestTwoInstancesOnOneFolderRefuse(t *testing.T) {
	in := upAndReady(t)
	second := keypulse(append(in.settings, "KEYPULSE_LISTEN="+freeAddress(t)), "up")
	out, err := second.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("another keypulse uses")) {
		t.Errorf("the second one: %v\n%s", err, out)
	}
	in.post("k", "still-there")
}

// load posts events from several clients until stop is closed and returns the ids of those that were accepted.
func (in *instance) load(stop <-chan struct{}, clients int) (accepted func() []int64) {
	var mu sync.Mutex
	var ids []int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := in.try("POST", "/api/events", fmt.Sprintf(`{"key_id":"key-%d","event_type":"signing_request","severity":"nominal"}`, (c+i)%20))
				if err != nil || r.status != http.StatusCreated {
					continue
				}
				var e event
				if json.Unmarshal(r.body, &e) == nil {
					mu.Lock()
					ids = append(ids, e.ID)
					mu.Unlock()
				}
			}
		})
	}
	return func() []int64 {
		wg.Wait()
		return ids
	}
}

// stored waits until every accepted event, and no other, is in ClickHouse, once.
func (in *instance) stored(t *testing.T, ids []int64) {
	t.Helper()
	want := make(map[int64]bool, len(ids))
	for _, id := range ids {
		want[id] = true
	}
	if len(want) != len(ids) {
		t.Errorf("%d ids for %d accepted events", len(want), len(ids))
	}
	await(t, "everything accepted is stored", 20*time.Second, func() error {
		seen := map[int64]bool{}
		for key := range 20 {
			for cursor := ""; ; {
				r := in.call("GET", fmt.Sprintf("/api/events?limit=500&key_id=key-%d%s", key, cursor), "")
				var page struct {
					Events     []event
					NextCursor string `json:"next_cursor"`
				}
				r.into(t, &page)
				for _, e := range page.Events {
					if seen[e.ID] {
						t.Fatalf("event %d is listed twice", e.ID)
					}
					seen[e.ID] = true
				}
				if page.NextCursor == "" {
					break
				}
				cursor = "&cursor=" + page.NextCursor
			}
		}
		for id := range want {
			if !seen[id] {
				return fmt.Errorf("event %d of %d is missing; %d are there", id, len(want), len(seen))
			}
		}
		return nil
	})
}

func TestSIGTERMLosesNothing(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	stop := make(chan struct{})
	accepted := in.load(stop, 8)
	await(t, "some events", 20*time.Second, func() error {
		if len(in.events("limit=100")) < 100 {
			return fmt.Errorf("too few events")
		}
		return nil
	})
	begin := time.Now()
	code := in.terminate()
	took := time.Since(begin)
	close(stop)
	ids := accepted()
	if code != 0 || took > 10*time.Second {
		t.Errorf("exit code %d after %v\n%s", code, took, in.printed())
	}
	in.start()
	in.ready()
	in.stored(t, ids)
}

func TestSIGKILLLosesNothing(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	random := rand.New(rand.NewPCG(1, 1))
	var ids []int64
	rounds := 3
	if os.Getenv("KEYPULSE_SOAK") != "" {
		rounds = 100
	}
	for range rounds {
		stop := make(chan struct{})
		accepted := in.load(stop, 4)
		seen := len(ids)
		await(t, "some more events", 20*time.Second, func() error {
			if n := len(in.events("limit=500")); n < min(seen+50, 500) {
				return fmt.Errorf("%d events", n)
			}
			return nil
		})
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond) // the moment of the kill is anyone's guess
		in.kill()
		close(stop)
		ids = append(ids, accepted()...)
		in.start()
		in.ready()
	}
	in.stored(t, ids)
}

// withoutLimit gives the instance an API key without a rate limit.
func (in *instance) withoutLimit() {
	in.t.Helper()
	var made struct {
		ID     string
		APIKey string `json:"api_key"`
	}
	out := output(in.t, in.settings, "apikey", "create", "--tenant", "demo", "--name", "load", "--rate-limit", "0", "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		in.t.Fatalf("%s: %v", out, err)
	}
	in.apiKey = made.APIKey
	await(in.t, "the new key on the node", 20*time.Second, func() error {
		if r := in.call("GET", "/api/events", ""); r.status != http.StatusOK {
			return fmt.Errorf("%d", r.status)
		}
		return nil
	})
}

func TestAPIKeyCommands(t *testing.T) {
	in := upAndReady(t)
	first := in.apiKey
	in.withoutLimit()
	list := output(t, in.settings, "apikey", "list", "--json")
	var id string
	for line := range strings.Lines(list) {
		var r struct{ ID, Name, HMAC string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.HMAC != "" {
			t.Errorf("listed %s: %v", line, err)
		}
		if r.Name == "load" {
			id = r.ID
		}
	}
	if strings.Contains(list, in.apiKey) || strings.Contains(list, first) {
		t.Error("the list shows a key")
	}
	await(t, "its last use in the list", time.Minute, func() error {
		for line := range strings.Lines(output(t, in.settings, "apikey", "list", "--json")) {
			var r struct {
				ID       string
				LastUsed *time.Time `json:"last_used"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				return err
			}
			if r.ID == id && r.LastUsed != nil {
				return nil
			}
		}
		return errors.New("not there")
	})
	for range 2 {
		if got := output(t, in.settings, "apikey", "revoke", "--json", id); got != `{"id":"`+id+`","status":"revoked"}`+"\n" {
			t.Errorf("revoke --json printed %s", got)
		}
	}
	await(t, "the revocation", 20*time.Second, func() error {
		if r := in.call("GET", "/api/events", ""); r.status != http.StatusForbidden {
			return fmt.Errorf("%d", r.status)
		}
		return nil
	})
	in.apiKey = first
	if r := in.call("GET", "/api/events", ""); r.status != http.StatusOK {
		t.Errorf("the other key answers %d", r.status)
	}
	if data := grepData(t, in, first); data != "" {
		t.Errorf("the key itself stands in %s", data)
	}
}

// grepData looks for a text in the instance's files.
func grepData(t *testing.T, in *instance, text string) (found string) {
	t.Helper()
	dir := strings.TrimPrefix(in.settings[0], "KEYPULSE_DATA=")
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // the engine removes files while we look
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
			found = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRateLimitOfTheFirstKey(t *testing.T) {
	in := upAndReady(t)
	var last reply
	for range 101 {
		last = in.call("GET", "/api/events?limit=1", "")
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("X-RateLimit-Limit") != "100" ||
		last.header.Get("X-RateLimit-Remaining") != "0" || last.header.Get("Retry-After") == "" {
		t.Errorf("the 101st request: %d %v", last.status, last.header)
	}
}

// TestRolesAlone runs each role as a process of its own, on the Kafka and ClickHouse of an `up` whose own roles are
// stopped by never being asked: a second tenant's worth of nodes beside it.
func TestRolesAlone(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	dsn := in.dsn(t)
	nodes := map[string]string{}
	for _, role := range []string{"processor", "sink", "ingest", "query"} {
		listen := freeAddress(t)
		cmd := keypulse([]string{
			in.settings[0], "KEYPULSE_LISTEN=" + listen, "KEYPULSE_LOG_LEVEL=warn",
			"KEYPULSE_KAFKA_BROKERS=" + strings.TrimPrefix(in.settings[2], "KEYPULSE_KAFKA_LISTEN="),
			"KEYPULSE_CLICKHOUSE_DSN=" + dsn,
		}, role)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", role, err, out.String())
			}
		})
		nodes[role] = "http://" + listen
	}
	for role, url := range nodes {
		await(t, role+" ready", 30*time.Second, func() error {
			r, err := http.Get(url + "/readyz")
			if err != nil {
				return err
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				return fmt.Errorf("%d", r.StatusCode)
			}
			return nil
		})
	}
	ingest := &instance{t: t, url: nodes["ingest"], apiKey: in.apiKey}
	query := &instance{t: t, url: nodes["query"], apiKey: in.apiKey}
	var evaluated atomic.Int64
	for range 20 {
		if e := ingest.post("k-roles", "from-the-ingest-node"); e.Evaluated {
			evaluated.Add(1)
		}
	}
	if evaluated.Load() == 0 {
		t.Error("no answer had its verdict")
	}
	await(t, "the events on the query node", 20*time.Second, func() error {
		if n := len(query.events("event_type=from-the-ingest-node")); n != 20 {
			return fmt.Errorf("%d of 20 events", n)
		}
		return nil
	})
	query.client = http.DefaultClient // the document has this operation, the node does not
	if r, err := query.try("POST", "/api/events", `{}`); err != nil || r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST on the query node: %d, %v", r.status, err)
	}
}

// dsn is how clients reach the instance's ClickHouse.
func (in *instance) dsn(t *testing.T) string {
	t.Helper()
	dir := strings.TrimPrefix(in.settings[0], "KEYPULSE_DATA=")
	password, err := os.ReadFile(filepath.Join(dir, "clickhouse", "password"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("clickhouse://keypulse:%s@%s/keypulse", strings.TrimSpace(string(password)),
		strings.TrimPrefix(in.settings[3], "KEYPULSE_CLICKHOUSE_NATIVE_LISTEN="))
}
