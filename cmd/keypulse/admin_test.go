package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/query"
)

// fails runs a command that must fail with exit code 1 and say all of want.
func fails(t *testing.T, settings []string, command string, want ...string) {
	t.Helper()
	r := runKeypulse(t, settings, strings.Fields(command)...)
	if r.code != 1 {
		t.Errorf("%s: exit code %d, %s%s", command, r.code, r.stdout, r.stderr)
	}
	for _, text := range want {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("%s: no %q in %s", command, text, r.stderr)
		}
	}
}

func TestRulesCommands(t *testing.T) {
	in := upAndReady(t)
	rule := writeFile(t, "rule.yaml", exportBurst)
	list := func() string { return output(t, in.settings, "rules", "list", "--tenant", "demo") }
	if out := output(t, nil, "rules", "check", rule); !strings.HasPrefix(out, "ID ") || !strings.HasSuffix(out, "9216\n1 rule is good.\n") {
		t.Errorf("check says %q", out)
	}

	t.Run("a tenant that does not exist", func(t *testing.T) {
		fails(t, in.settings, "rules apply --tenant dmeo "+rule, "tenant dmeo has no API key (did you mean demo?)", "--new-tenant")
		if out := output(t, in.settings, "rules", "apply", "--new-tenant", "--tenant", "later", rule); !strings.Contains(out, "applied") {
			t.Errorf("apply says %q", out)
		}
	})
	t.Run("a rule that is good", func(t *testing.T) {
		for _, state := range []string{"version 1  applied", "version 1  unchanged"} {
			if out := output(t, in.settings, "rules", "apply", "--tenant", "demo", rule); !strings.Contains(out, state) {
				t.Errorf("apply says %q, want %q", out, state)
			}
		}
		shown := output(t, in.settings, "rules", "show", "--tenant", "demo", "export-burst")
		if !strings.Contains(shown, `&& count(\"10m\", event_type == \"export\") > 3`) {
			t.Errorf("show says %s", shown)
		}
		if out := list(); !strings.Contains(out, " 15m ") {
			t.Errorf("list says %s", out)
		}
	})
	t.Run("over the limit of aggregates", func(t *testing.T) {
		before := list()
		fails(t, in.settings, "rules apply --tenant demo "+writeFile(t, "many.yaml", manyAggregates(11, 50)),
			"nothing is applied", "rule many-9 is one too many: 501 different aggregates, at most 500")
		if after := list(); after != before {
			t.Errorf("it applied something: %s", after)
		}
	})
	t.Run("over the budget of time", func(t *testing.T) {
		var many strings.Builder
		for i := range 9 {
			fmt.Fprintf(&many, "- id: slow-%d\n  name: Slow\n  severity: nominal\n  when: 'median(details.list%d[:4]) > 1 && details.text%d[:9] == \"a\"'\n", i, i, i)
		}
		file := writeFile(t, "slow.yaml", many.String())
		fails(t, in.settings, "rules apply --rule-budget 2ms --tenant demo "+file,
			"nothing is applied", "is one too many: with it the tenant's rules may take", "at most 2ms is allowed")
		if out := output(t, in.settings, "rules", "apply", "--tenant", "demo", file); strings.Count(out, "applied") != 9 {
			t.Errorf("apply says %s", out)
		}
	})
}

// manyAggregates is a rule file with some rules, each with some aggregates of its own.
func manyAggregates(rules, each int) string {
	var b strings.Builder
	for r := range rules {
		terms := make([]string, each)
		for a := range terms {
			terms[a] = fmt.Sprintf(`count("1m", actor == "a%d") > 0`, r*each+a)
		}
		fmt.Fprintf(&b, "- id: many-%d\n  name: Many\n  severity: nominal\n  when: %s\n", r, strings.Join(terms, " || "))
	}
	return b.String()
}

// A rotated key and its successor both work until the overlap is over, without which the old one ends at once.
func TestAPIKeyRotation(t *testing.T) {
	in := upAndReady(t)
	type made struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	decode := func(text string) (m made) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &m); err != nil || m.ID == "" || m.APIKey == "" {
			t.Fatalf("%v in %s", err, text)
		}
		return m
	}
	opens := func(key string, want int) {
		t.Helper()
		awaitStatus(t, in, key, want)
	}
	first := decode(output(t, in.settings, "apikey", "create", "--tenant", "demo", "--name", "rotated", "--rate-limit", "0", "--json"))
	opens(first.APIKey, http.StatusOK)
	second := decode(output(t, in.settings, "apikey", "rotate", "--json", first.ID))
	if second.ID != first.ID || second.APIKey == first.APIKey {
		t.Errorf("rotate made %s of %s", second.ID, first.ID)
	}
	opens(second.APIKey, http.StatusOK)
	opens(first.APIKey, http.StatusOK)
	third := decode(output(t, in.settings, "apikey", "rotate", "--overlap", "0", "--json", first.ID))
	opens(third.APIKey, http.StatusOK)
	opens(second.APIKey, http.StatusForbidden)
	opens(first.APIKey, http.StatusUnauthorized)

	if list := output(t, in.settings, "apikey", "list", "--json"); strings.Contains(list, "hmac") || !strings.Contains(list, "previous_until") {
		t.Errorf("list says %s", list)
	}
	output(t, in.settings, "apikey", "revoke", first.ID)
	opens(third.APIKey, http.StatusForbidden)
	fails(t, in.settings, "apikey rotate "+first.ID, "it is revoked")
	fails(t, in.settings, "apikey rotate nobody", "there is none with this id")
}

// awaitStatus asks with an API key until the answer is want: a change of a key holds within two seconds.
func awaitStatus(t *testing.T, in *instance, key string, want int) {
	t.Helper()
	got := 0
	for until := time.Now().Add(2 * time.Second); ; {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, in.url+"/api/events?limit=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got = res.StatusCode; got == want {
			return
		}
		if time.Now().After(until) {
			t.Errorf("status %d, want %d", got, want)
			return
		}
	}
}

// With another secret file keys are not made, and the node that has it says why none works there.
func TestAnotherSecretFile(t *testing.T) {
	in := upAndReady(t)
	const why = "this secret file is not the one that the installation's API keys were made with"
	other := writeFile(t, "secret", strings.Repeat("ab", 32)+"\n")
	wrong := append(in.settings[:len(in.settings):len(in.settings)], "KEYPULSE_SECRET_FILE="+other)

	fails(t, wrong, "apikey create --tenant demo --name x", why, "--secret-file")
	if r := runKeypulse(t, wrong, "apikey", "list"); r.code != 0 || !strings.Contains(r.stderr, "warning: ") || !strings.Contains(r.stderr, why) {
		t.Errorf("list: %+v", r)
	}
	list := output(t, in.settings, "apikey", "list", "--json")
	if strings.Contains(list, "hmac") || strings.Count(list, "\n") != 1 {
		t.Errorf("list says %s", list)
	}

	listen := freeAddress(t)
	node := keypulse(append(wrong, "KEYPULSE_LISTEN="+listen, "KEYPULSE_KAFKA_BROKERS="+strings.TrimPrefix(in.settings[2], "KEYPULSE_KAFKA_LISTEN=")), "ingest")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
	})
	await(t, "the reason on /readyz", 20*time.Second, func() error {
		r, err := http.Get("http://" + listen + "/readyz")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err == nil && (r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"secret":"`+why+`"`)) {
			err = errors.New(string(body))
		}
		return err
	})

	// The way out when the right file is lost.
	var key struct{ ID string }
	if err := json.Unmarshal([]byte(list), &key); err != nil {
		t.Fatal(err)
	}
	output(t, wrong, "apikey", "revoke", key.ID)
	output(t, wrong, "apikey", "create", "--tenant", "demo", "--name", "new")
}

func TestMigrateTwice(t *testing.T) {
	settings := []string{
		"KEYPULSE_KAFKA_BROKERS=" + brokertest.StartBroker(t), "KEYPULSE_CLICKHOUSE_DSN=" + enginetest.DSN(t),
		"KEYPULSE_PARTITIONS=3", "KEYPULSE_LOG_LEVEL=info",
	}
	for range 2 {
		if r := runKeypulse(t, settings, "migrate"); r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	// Another number changes nothing, and the user is told.
	settings[2] = "KEYPULSE_PARTITIONS=5"
	if r := runKeypulse(t, settings, "migrate"); r.code != 0 || !strings.Contains(r.stderr, "the log keeps the number of partitions") {
		t.Errorf("%+v", r)
	}
	db, err := store.Open(t.Context(), strings.TrimPrefix(settings[1], "KEYPULSE_CLICKHOUSE_DSN="))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables uint64
	if err := db.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('events', 'alerts')").Scan(&tables); err != nil || tables != 2 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

// What the API writes beside events is refused, too, while the disk is nearly full.
func TestFullDiskRefusesRules(t *testing.T) {
	secret := auth.NewSecret()
	n := &node{stack: newStack(t.Context(), zap.NewNop()), settings: &settings{Listen: "127.0.0.1:0"}, keys: auth.NewTable(secret), take: auth.NewLimiter().Take}
	record, apiKey := newAPIKey(secret, apiKeyRequest{tenant: "demo", name: "x", scopes: auth.DefaultScopes()})
	value, err := json.Marshal(record)
	if err == nil {
		err = n.keys.Apply(0, []byte(record.ID), value)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.refuse = func() error { return errors.New("only 3 MiB are free") }
	n.newServer()
	query.New(query.Config{}).Register(n.server.App())
	l, err := n.listen()
	if err != nil {
		t.Fatal(err)
	}
	n.serve(l)
	defer func() {
		if err := n.stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	in := &instance{t: t, url: "http://" + l.Addr().String(), apiKey: apiKey}
	for _, path := range []string{"POST /api/rules", "PUT /api/rules/r", "DELETE /api/rules/r", "POST /api/alerts/a/ack"} {
		method, path, _ := strings.Cut(path, " ")
		if r := in.call(method, path, "{}"); r.status != 503 || !strings.Contains(string(r.body), "storage_full") {
			t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
		}
	}
}

// The log of a quiet run: a line at the start and two at the end, and none for what asks whether it is ready.
func TestLogOfAQuietRun(t *testing.T) {
	in := newInstance(t)
	in.settings = append(in.settings, "KEYPULSE_LOG_LEVEL=info")
	in.start()
	in.ready()
	if e := in.post("k", "export"); e.ID < 1024 {
		t.Errorf("the first event has the id %d: ids begin at 1024", e.ID)
	}
	if code := in.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	rest := in.printed()
	for _, line := range []string{"starting", "listening", "stopping", "terminated signal received", "stopped"} {
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Errorf("no %q, or not in its place:\n%s", line, in.printed())
		}
		rest = after
	}
	for _, noise := range []string{"/readyz", "number of partitions", "no authentication"} {
		if strings.Contains(in.printed(), noise) {
			t.Errorf("%q in the log:\n%s", noise, in.printed())
		}
	}
}
