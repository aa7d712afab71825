package query

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/httpapi"
	"keypulse/internal/openapi/openapitest"
	"keypulse/internal/store"
	"keypulse/rules"
	"keypulse/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { enginetest.Main(m) }

// noon is the time at which the tests' clock stands: the one of the reference's example.
var noon = time.Date(2026, 4, 5, 12, 34, 0, 0, time.UTC)

// api is a query node over a database and a rules log of its own, with two tenants.
type api struct {
	t     testing.TB
	db    driver.Conn
	query *Query
	url   string
	http  *http.Client // checks every answer against the document
	clock atomic.Int64 // milliseconds
	keys  map[schema.Tenant]string
}

// newAPI serves the query role until the test ends. change may change the configuration.
func newAPI(t testing.TB, change ...func(*Config)) *api {
	t.Helper()
	return serveAPI(t, openDB(t, enginetest.Migrated(t)), change...)
}

func openDB(t testing.TB, dsn string) driver.Conn {
	t.Helper()
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func serveAPI(t testing.TB, db driver.Conn, change ...func(*Config)) *api {
	t.Helper()
	a := &api{t: t, db: db, http: openapitest.Client(t), keys: map[schema.Tenant]string{}}
	a.clock.Store(noon.UnixMilli())
	cfg := Config{DB: db, Book: rules.NewBook(), Now: a.now}
	for _, f := range change {
		f(&cfg)
	}
	a.query = New(cfg)

	secret := auth.NewSecret()
	table := auth.NewTable(secret)
	a.addKey(table, secret, "demo", auth.DefaultScopes())
	a.addKey(table, secret, "other", auth.DefaultScopes())
	a.addKey(table, secret, "reader", []string{auth.ScopeRead})
	server := httpapi.New(httpapi.Config{
		Auth:   httpapi.Authenticate(table, auth.NewLimiter().Take, a.now),
		Public: []string{StatsPath},
	})
	a.query.Register(server.App())
	server.AddCheck("query", a.query.Check)
	server.App().Get("/api/endless", httpapi.Require(auth.ScopeRead), a.runEndless)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + ln.Addr().String()
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return a
}

// runEndless is a route that answers when its statement is given up.
func (a *api) runEndless(c *fiber.Ctx) error {
	j := a.query.begin(c, a.query.cfg.StatementTimeout)
	defer j.end()
	return j.each("endless", endless, one("x"), discard)
}

func (a *api) now() time.Time { return time.UnixMilli(a.clock.Load()).UTC() }

// addKey makes the API key of a tenant, without a limit.
func (a *api) addKey(table *auth.Table, secret *auth.Secret, tenant schema.Tenant, scopes []string) {
	a.t.Helper()
	key := auth.NewKey(rand.Reader)
	rec, err := json.Marshal(schema.APIKeyRecord{
		ID: "key-of-" + string(tenant), Version: 1, Tenant: tenant, Name: "tests", HMAC: secret.Digest(key).String(),
		Scopes: scopes, Status: schema.APIKeyActive, CreatedAt: schema.MillisOf(noon),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := table.Apply(table.Rev(), []byte("key-of-"+string(tenant)), rec); err != nil {
		a.t.Fatal(err)
	}
	a.keys[tenant] = key
}

// request builds a request of a tenant; "" sends no API key.
func (a *api) request(tenant schema.Tenant, method, path, body string) *http.Request {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if tenant != "" {
		req.Header.Set("Authorization", "Bearer "+a.keys[tenant])
	}
	req.Header.Set("X-Request-Id", "test")
	return req
}

// do sends a request and returns the answer's status and body.
func (a *api) do(tenant schema.Tenant, method, path, body string) (int, []byte) {
	a.t.Helper()
	resp, err := a.http.Do(a.request(tenant, method, path, body))
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, got
}

// get wants 200 and returns the body.
func (a *api) get(tenant schema.Tenant, path string) []byte {
	a.t.Helper()
	status, body := a.do(tenant, http.MethodGet, path, "")
	if status != http.StatusOK {
		a.t.Fatalf("GET %s: got %d %s, want 200", path, status, body)
	}
	return body
}

// refuse wants a status, and every word in the body of a failure that has the error shape.
func (a *api) refuse(tenant schema.Tenant, method, path, body string, want int, words ...string) {
	a.t.Helper()
	status, got := a.do(tenant, method, path, body)
	var failure struct {
		Success   *bool  `json:"success"`
		Message   string `json:"message"`
		Code      string `json:"code"`
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(got, &failure); err != nil {
		a.t.Fatalf("%s %s: got %d %s: %v", method, path, status, got, err)
	}
	shaped := failure.Success != nil && !*failure.Success && failure.Message != "" && failure.Code != "" && failure.RequestID == "test"
	if status != want || !shaped {
		a.t.Fatalf("%s %s: got %d %s, want %d in the error shape", method, path, status, got, want)
	}
	for _, word := range words {
		if !strings.Contains(string(got), word) {
			a.t.Errorf("%s %s: got %s, want %q in it", method, path, got, word)
		}
	}
}

// listed is a page of any list, as far as tests look at it.
type listed struct {
	Success bool `json:"success"`
	Events  []struct {
		ID int64 `json:"id"`
	} `json:"events"`
	Alerts []struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Hits  int    `json:"hits"`
	} `json:"alerts"`
	Keys []struct {
		KeyID      string `json:"key_id"`
		OpenAlerts int    `json:"open_alerts"`
		EventCount int    `json:"event_count"`
	} `json:"keys"`
	NextCursor *string `json:"next_cursor"`
	HasMore    bool    `json:"has_more"`
}

func (a *api) list(tenant schema.Tenant, path string) listed {
	a.t.Helper()
	var l listed
	body := a.get(tenant, path)
	if err := json.Unmarshal(body, &l); err != nil {
		a.t.Fatalf("GET %s: %v in %s", path, err, body)
	}
	if !l.Success || l.HasMore != (l.NextCursor != nil) {
		a.t.Fatalf("GET %s: next_cursor and has_more disagree, or no success: %s", path, body)
	}
	return l
}

// eventIDs lists the ids of the events that a path answers with.
func (a *api) eventIDs(tenant schema.Tenant, path string) []int64 {
	a.t.Helper()
	var ids []int64
	for _, e := range a.list(tenant, path).Events {
		ids = append(ids, e.ID)
	}
	return ids
}

// golden compares with testdata/name.
func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

// row is a row of events; what is left out is filled with something ordinary.
type row struct {
	id          int64
	tenant      schema.Tenant
	event       schema.Event
	score       int
	alerts      int
	duplicateOf int64
}

// insert writes rows into events, as one block.
func (a *api) insert(rows ...row) {
	a.t.Helper()
	batch, err := a.db.PrepareBatch(a.t.Context(), `INSERT INTO landing (tenant, key_id, id, event_id, event_type, severity,
		source_ip, actor, details, created_at, score, alerts, duplicate_of, kafka_partition, kafka_offset, log_time)`)
	if err != nil {
		a.t.Fatal(err)
	}
	defer batch.Close()
	for _, r := range rows {
		e := r.event
		severity := max(e.Severity, schema.Nominal)
		created := e.CreatedAt.Time()
		if e.CreatedAt == 0 {
			created = noon.Add(time.Duration(r.id) * time.Millisecond)
		}
		err := batch.Append(orElse(string(r.tenant), "demo"), orElse(e.KeyID, "key-1"), uint64(r.id), orElse(e.EventID, "e"),
			orElse(e.Type, "signing_request"), severity.String(), e.SourceIP, e.Actor, orElse(string(e.Details), schema.EmptyDetails),
			created, uint8(r.score), uint16(r.alerts), uint64(r.duplicateOf), uint16(r.id%1024), uint64(r.id/1024), created)
		if err != nil {
			a.t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		a.t.Fatal(err)
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// exec runs a statement of the test's own.
func (a *api) exec(sql string) {
	a.t.Helper()
	if err := a.db.Exec(a.t.Context(), sql); err != nil {
		a.t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
