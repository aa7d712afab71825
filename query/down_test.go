package query

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"keypulse/internal/engine"
	"keypulse/internal/store"
)

// startEngine runs an engine in dir until stop.
func startEngine(t *testing.T, dir, listen string) (eng *engine.Engine, stop func()) {
	t.Helper()
	eng, err := engine.New(engine.Config{Dir: dir, NativeListen: listen, HTTPListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	ready, cancelReady := context.WithTimeout(ctx, 30*time.Second)
	defer cancelReady()
	if err := eng.Ready(ready); err != nil {
		stop()
		t.Fatal(err)
	}
	return eng, stop
}

// TestDatabaseDown wants 503 in the error shape from everything that reads ClickHouse, and answers when it is back.
func TestDatabaseDown(t *testing.T) {
	dir := t.TempDir()
	eng, stop := startEngine(t, dir, "127.0.0.1:0")
	db, err := store.Open(t.Context(), eng.DSN())
	if err == nil {
		err = store.Migrate(t.Context(), db)
	}
	if err != nil {
		stop()
		t.Fatal(err)
	}
	defer db.Close()
	a := serveAPI(t, db)
	paths := []string{"/api/events", "/api/events/1", "/api/keys", "/api/keys?limit=1", "/api/alerts", "/api/alerts/a", "/api/stats"}
	for _, path := range paths {
		a.do("demo", http.MethodGet, path, "")
	}
	stop()
	a.clock.Add(1000) // the statistics that were kept are too old
	for _, path := range paths {
		a.refuse("demo", http.MethodGet, path, "", http.StatusServiceUnavailable, `"code":"unavailable"`)
	}
	a.refuse("", http.MethodGet, "/readyz", "", http.StatusServiceUnavailable, "query")
	a.get("demo", "/api/rules")
	resp, err := a.http.Do(a.request("demo", http.MethodGet, "/api/events", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Retry-After") != "1" {
		t.Errorf("got Retry-After %q, want 1", resp.Header.Get("Retry-After"))
	}

	dsn, err := url.Parse(eng.DSN())
	if err != nil {
		t.Fatal(err)
	}
	_, stop = startEngine(t, dir, dsn.Host)
	defer stop()
	for range 10 { // more than there are connections
		a.get("demo", "/api/events")
	}
	a.get("", "/readyz")
}
