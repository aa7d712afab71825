package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// analystDatabase is where demo's analyst finds the views.
const analystDatabase = "keypulse_demo"

// secret stands in every row of the tenant that the analyst must not see.
const secret = "OTHERS-SECRET"

// sql runs a statement over HTTP as a user, where demo's analysts are.
func (in *instance) sql(user, password, statement, params string) (int, string) {
	in.t.Helper()
	return in.sqlIn(analystDatabase, user, password, statement, params)
}

func (in *instance) sqlIn(database, user, password, statement, params string) (int, string) {
	in.t.Helper()
	address := strings.TrimPrefix(in.settings[4], "KEYPULSE_CLICKHOUSE_HTTP_LISTEN=")
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, "http://"+address+"/?database="+database+params, strings.NewReader(statement))
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

// asKeyPulse runs a statement with all rights.
func (in *instance) asKeyPulse(statement string) string {
	in.t.Helper()
	password, err := os.ReadFile(filepath.Join(strings.TrimPrefix(in.settings[0], "KEYPULSE_DATA="), "clickhouse", "password"))
	if err != nil {
		in.t.Fatal(err)
	}
	status, got := in.sqlIn("keypulse", "keypulse", string(password), statement, "")
	if status != http.StatusOK {
		in.t.Fatalf("%s: %d %s", statement, status, got)
	}
	return got
}

// withTwoTenants posts events and alerts of demo and of another tenant, and returns demo's analyst.
func withTwoTenants(t *testing.T) (in *instance, user, password string) {
	in = upAndReady(t)
	in.withoutLimit()
	var created struct {
		APIKey string `json:"api_key"`
	}
	text := output(t, in.settings, "apikey", "create", "--tenant", "other", "--name", secret, "--rate-limit", "0", "--json")
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
	if r := other.call(http.MethodPut, "/api/keys/"+secret+"-1", `{"name":"`+secret+`","tags":["`+secret+`"]}`); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := in.call(http.MethodPut, "/api/keys/treasury-1", `{"name":"Treasury","tags":["cold"]}`); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	in.awaitAlert("demo's alert", 1)
	in.verified()
	await(t, "what is said of keys, and the audit", 30*time.Second, func() error {
		if got := in.asKeyPulse("SELECT uniqExact(tenant) FROM keypulse.described_keys UNION ALL SELECT uniqExact(tenant) FROM keypulse.audit WHERE tenant != ''"); got != "2\n2\n" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
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
	t.Run("upgrade", func(t *testing.T) {
		in.asKeyPulse("DROP VIEW keypulse_demo.v_audit")
		if code := in.terminate(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		in.start()
		in.ready()
		in.allowed(t, user, password, "SELECT * FROM v_audit")
	})
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
	var d grafana
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	d.check(t)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			sql := timeFilter.ReplaceAllString(target.RawSQL, "$1 >= toDateTime(0) AND $1 <= toDateTime(4000000000)")
			in.allowed(t, user, password, sql+" SETTINGS max_execution_time = 60")
			_, columns := in.sql(user, password, "SELECT * FROM ("+sql+") LIMIT 0 FORMAT TSVWithNamesAndTypes", "")
			names, types, _ := strings.Cut(columns, "\n")
			if panel.Type == "timeseries" && (!strings.HasPrefix(names, "time\t") || !strings.HasPrefix(types, "DateTime")) {
				t.Errorf("panel %q draws by time, its columns are %s", panel.Title, columns)
			}
		}
	}
}

// grafana is a dashboard, as far as an import goes by it.
type grafana struct {
	UID, Title    string
	SchemaVersion int
	Time          struct{ From, To string }
	Templating    struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Title, Type string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ RefID, RawSQL string }
	}
}

// check holds a dashboard to what Grafana asks of one: a known version, ids that are no other panel's, places side by side in 24
// columns, and a data source that whoever imports it chooses.
func (d *grafana) check(t *testing.T) {
	t.Helper()
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || d.Time.From == "" || d.Time.To == "" || len(d.Panels) == 0 {
		t.Errorf("the dashboard has no uid, title, version, time or panels: %+v", d)
	}
	const source = "grafana-clickhouse-datasource"
	if l := d.Templating.List; len(l) != 1 || l[0].Name != "datasource" || l[0].Type != "datasource" || l[0].Query != source {
		t.Errorf("the data source cannot be chosen: %+v", l)
	}
	ids, taken := map[int]bool{}, map[[2]int]bool{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" || p.Datasource.Type != source || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
		if !slices.Contains([]string{"timeseries", "table", "stat", "barchart", "bargauge", "piechart"}, p.Type) {
			t.Errorf("panel %q is of the type %q, which Grafana does not bring", p.Title, p.Type)
		}
		if g := p.GridPos; g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q stands outside of the grid: %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] {
					t.Errorf("panel %q covers another one at %v", p.Title, at)
				}
				taken[at] = true
			}
		}
		for _, target := range p.Targets {
			if target.RefID == "" || target.RawSQL == "" {
				t.Errorf("panel %q: %+v", p.Title, target)
			}
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
