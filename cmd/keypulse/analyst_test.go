package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// analystDatabase is where demo's analyst finds the views.
const analystDatabase = "keypulse_demo"

// secret stands in every row of the tenant that the analyst must not see.
const secret = "OTHERS-SECRET"

// sql runs a statement over HTTP as a user.
func (in *instance) sql(user, password, statement, params string) (int, string) {
	in.t.Helper()
	address := strings.TrimPrefix(in.settings[4], "KEYPULSE_CLICKHOUSE_HTTP_LISTEN=")
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, "http://"+address+"/?database="+analystDatabase+params, strings.NewReader(statement))
	if err != nil {
		in.t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// withTwoTenants posts events and alerts of demo and of another tenant, and returns demo's analyst.
func withTwoTenants(t *testing.T) (in *instance, user, password string) {
	in = upAndReady(t)
	in.withoutLimit()
	var created struct {
		APIKey string `json:"api_key"`
	}
	text := output(t, in.settings, "apikey", "create", "--tenant", "other", "--name", "other", "--rate-limit", "0", "--json")
	if err := json.Unmarshal([]byte(text), &created); err != nil {
		t.Fatal(err)
	}
	other := &instance{t: t, url: in.url, apiKey: created.APIKey}
	rule := writeFile(t, "rule.yaml", "id: any\nname: "+secret+"\nwhen: event_type == \"export\"\nseverity: critical\nscore: 40\n")
	output(t, in.settings, "rules", "apply", "--tenant", "other", rule)
	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rule.yaml", exportBurst))
	for i := range 4 {
		in.post("treasury-1", "export")
		body := fmt.Sprintf(`{"key_id":"%s-%d","event_type":"export","severity":"critical","actor":"%s","details":{"x":"%s"}}`, secret, i, secret, secret)
		if r := other.call(http.MethodPost, "/api/events", body); r.status != http.StatusCreated {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	await(t, "the other's alerts", 20*time.Second, func() error {
		if r := other.call(http.MethodGet, "/api/alerts", ""); bytes.Count(r.body, []byte(`"id":"al_`)) == 0 {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})
	in.awaitAlert("demo's alert", 1)
	in.verified()
	var made struct{ User, Password, Database string }
	text = output(t, in.settings, "analyst", "create", "--tenant", "demo", "--name", "ann", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Database != analystDatabase {
		t.Fatalf("%s: %v", text, err)
	}
	return in, made.User, made.Password
}

// TestAnalyst makes an analyst and tries what it may do, what it may not, and every question of the docs and the dashboard.
func TestAnalyst(t *testing.T) {
	in, user, password := withTwoTenants(t)
	if status, got := in.sql(user, password, "SELECT count() FROM v_events", ""); status != 200 || got != "4\n" {
		t.Fatalf("v_events: %d %s, want demo's 4 events", status, got)
	}
	t.Run("docs", func(t *testing.T) { in.runQuestions(t, user, password) })
	t.Run("grafana", func(t *testing.T) { in.runDashboard(t, user, password) })
	t.Run("ways around", func(t *testing.T) { in.tryWaysAround(t, user, password) })
	t.Run("revoked", func(t *testing.T) {
		output(t, in.settings, "analyst", "revoke", user)
		await(t, "the analyst is out", 20*time.Second, func() error {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+strings.TrimPrefix(in.settings[4], "KEYPULSE_CLICKHOUSE_HTTP_LISTEN=")+"/?query=SELECT+1", nil)
			req.SetBasicAuth(user, password)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return fmt.Errorf("still in")
			}
			return nil
		})
	})
}

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)\n```")

// runQuestions runs every query of docs/analysts.md.
func (in *instance) runQuestions(t *testing.T, user, password string) {
	text, err := os.ReadFile("../../docs/analysts.md")
	if err != nil {
		t.Fatal(err)
	}
	questions := sqlBlock.FindAllStringSubmatch(string(text), -1)
	if len(questions) < 20 {
		t.Errorf("%d questions in the docs, want at least 20", len(questions))
	}
	for _, q := range questions {
		in.allowed(t, user, password, q[1])
	}
}

var timeFilter = regexp.MustCompile(`\$__timeFilter\((\w+)\)`)

// runDashboard runs every panel's query as Grafana's plugin sends it: with the macro filled in, and max_execution_time.
func (in *instance) runDashboard(t *testing.T, user, password string) {
	text, err := os.ReadFile("../../deploy/grafana/keypulse.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ RawSQL string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Error("no panels")
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			sql := timeFilter.ReplaceAllString(target.RawSQL, "$1 >= toDateTime(0) AND $1 <= toDateTime(4000000000)")
			in.allowed(t, user, password, sql+" SETTINGS max_execution_time = 60")
		}
	}
}

// allowed wants a statement to run and to show nothing of the other tenant.
func (in *instance) allowed(t *testing.T, user, password, sql string) {
	t.Helper()
	if status, got := in.sql(user, password, sql, ""); status != http.StatusOK || strings.Contains(got, secret) {
		t.Errorf("%s: %d %s", sql, status, got)
	}
}

// TestAnalystWords refuses names and tenants that cannot be.
func TestAnalystWords(t *testing.T) {
	data := "--data=" + t.TempDir()
	for _, args := range [][]string{
		{"create", "--tenant", "demo", "--name", "Ann"},
		{"create", "--tenant", "demo", "--name", "default"},
		{"create", "--tenant", "demo"},
		{"create", "--name", "ann"},
		{"create", "--tenant", "it's", "--name", "ann"},
		{"revoke"},
		{"grant"},
	} {
		out, err := keypulse(nil, append([]string{"analyst", args[0], data}, args[1:]...)...).CombinedOutput()
		if err == nil {
			t.Errorf("%v: got %s, want a refusal", args, out)
		}
	}
}
