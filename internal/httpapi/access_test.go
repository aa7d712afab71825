package httpapi

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap/zapcore"

	"keypulse/internal/auth"
)

// lines waits until n requests have their lines, and returns them.
func (ts *testServer) lines(n int) []string {
	ts.Helper()
	eventually(ts.T, "the lines in the log", func() bool { return ts.logs.Len() >= n })
	var lines []string
	for _, e := range ts.logs.TakeAll() {
		text := e.Level.String() + " " + e.Message
		if err, ok := e.ContextMap()["error"].(string); ok {
			text += " " + err
		}
		lines = append(lines, text)
	}
	return lines
}

func TestProbesAreQuiet(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.AccessLevel = zapcore.InfoLevel }, errorRoutes)
	ts.AddCheck("sink", func(context.Context) error { return errors.New("it does not answer") })
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		ts.get(path, "")
	}
	want := []string{"debug request", "debug request sink: it does not answer", "debug request"}
	if got := ts.lines(3); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
	ts.get("/api/ok", "")
	if got := ts.lines(1); got[0] != "info request" {
		t.Errorf("got %q", got)
	}
}

func TestRefusalsAreSampled(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	const sent = 100
	for range sent {
		ts.get("/api/events", ts.keys.unknown)
	}
	ts.get("/api/none", "") // another kind of line, which comes after them
	var warnings, told int
	eventually(t, "the last line", func() bool {
		for _, e := range ts.logs.TakeAll() {
			switch e.Level {
			case zapcore.WarnLevel:
				warnings++
			default:
				told++
			}
		}
		return told > 0
	})
	// The test may cross the border of a second, or of a few.
	if warnings < refusalsLogged || warnings > 5*refusalsLogged {
		t.Errorf("%d lines for %d refused keys", warnings, sent)
	}
	want := "keypulse_http_unlogged_refusals_total " + strconv.Itoa(sent-warnings)
	if r := ts.get("/metrics", ""); !strings.Contains(r.body, want) {
		t.Errorf("no %q in the metrics", want)
	}
}

func TestRefuseStopsWrites(t *testing.T) {
	var full atomic.Bool
	ts := start(t, func(cfg *Config) {
		cfg.Refuse = func() error {
			if full.Load() {
				return errors.New("only 3 MiB are free")
			}
			return nil
		}
	}, func(app *fiber.App) {
		ok := func(c *fiber.Ctx) error { return Raw(c, 200, []byte("{}")) }
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			app.Add(method, "/api/rules", Require(auth.ScopeRules), ok)
		}
		app.Post("/api/events", Require(auth.ScopeIngest), ok)
	})
	f := func(method, path, key string, status int) {
		t.Helper()
		r := ts.send(method, path, key, "")
		if r.StatusCode != status {
			t.Errorf("%s %s: %d %s, want %d", method, path, r.StatusCode, r.body, status)
		}
		if status == 503 {
			ts.want(r, 503, CodeStorageFull)
			if r.Header.Get("Retry-After") != "30" || strings.Contains(r.body, "3 MiB") {
				t.Errorf("%v %s", r.Header, r.body)
			}
		}
	}
	f("POST", "/api/rules", ts.keys.full, 200)
	full.Store(true)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		f(method, "/api/rules", ts.keys.full, 503)
	}
	f("POST", "/api/rules", ts.keys.unknown, 401)
	f("POST", "/api/rules", ts.keys.readOnly, 403)
	f("GET", "/api/rules", ts.keys.full, 200)
	f("POST", "/api/events", ts.keys.full, 200) // ingest refuses by itself
	full.Store(false)
	f("POST", "/api/rules", ts.keys.full, 200)
}

func TestAlternatives(t *testing.T) {
	f := func(want string, words ...string) {
		t.Helper()
		if got := Alternatives(words); got != want {
			t.Errorf("%q is written %q", words, got)
		}
	}
	f("")
	f("a", "a")
	f("a or b", "a", "b")
	f("nominal, warning or critical", "nominal", "warning", "critical")
}

// TestAHandlersOwnFailureIsLogged has a handler write a failure itself, as bulk does.
func TestAHandlersOwnFailureIsLogged(t *testing.T) {
	ts := start(t, nil, func(app *fiber.App) {
		app.Get("/api/own", func(c *fiber.Ctx) error {
			e := Unavailable(CodeUnavailable, "The log does not answer.", 1)
			e.Cause = errors.New("disk on fire")
			Failed(c, e)
			return Raw(c, e.Status, e.appendJSON(nil, RequestID(c)))
		})
	})
	ts.get("/api/own", "")
	if got := ts.lines(1); got[0] != "error request disk on fire" {
		t.Errorf("got %q", got)
	}
}
