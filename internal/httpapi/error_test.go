package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
)

// errorRoutes are handlers that fail in every way.
func errorRoutes(app *fiber.App) {
	index := 3
	fail := func(path string, err error) {
		app.Get("/api/"+path, func(*fiber.Ctx) error { return err })
	}
	fail("fields", InvalidFields(
		FieldError{Field: "severity", Message: "must be nominal, warning or critical", Index: &index},
		FieldError{Field: "actor", Message: "must be a string"}))
	fail("many", InvalidFields(slices.Repeat([]FieldError{{Field: "a<b>&\"", Message: "is \xff odd"}}, 5)...))
	fail("malformed", InvalidFields(FieldError{Message: "line 1, column 2: unexpected end of JSON"}))
	fail("wrapped", fmt.Errorf("read event: %w", NotFound("There is no event 7.")))
	fail("conflict", Conflict("The rule exists."))
	fail("unavailable", &Error{
		Status: 503, Code: "outcome_unknown", Message: "Send it again.",
		Extra: map[string]any{"event_ids": []string{"a", "<b>"}, "count": 2}, Cause: errors.New("secret detail"),
	})
	fail("retry", Unavailable(CodeUnavailable, "The log does not answer.", 3))
	fail("plain", errors.New("secret detail"))
	fail("fiber", fiber.ErrTeapot)
	app.Get("/api/panic", func(c *fiber.Ctx) error {
		c.Set("Content-Encoding", "gzip")
		_ = c.Status(200).SendString("half an answer")
		panic("secret detail")
	})
	app.Get("/api/nil", func(c *fiber.Ctx) error {
		b := []byte(c.Query("none"))
		b[len(b)] = 1 // a bug as they happen
		return nil
	})
	app.Get("/api/ok", func(c *fiber.Ctx) error { return JSON(c, 200, fiber.Map{"success": true}) })
	app.Post("/api/events", Require(auth.ScopeIngest), func(c *fiber.Ctx) error {
		body, err := Body(c, DefaultBodyLimit)
		if err != nil {
			return err
		}
		return JSON(c, 201, fiber.Map{"success": true, "bytes": len(body)})
	})
	app.Get("/api/events", Require(auth.ScopeRead), func(c *fiber.Ctx) error {
		params, err := Params(c, "limit", "key_id", "details.")
		if err != nil {
			return err
		}
		return JSON(c, 200, params)
	})
}

// Every failure's whole answer, headers included.
func TestErrorShapes(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	var b strings.Builder
	show := func(title string, r response) {
		fmt.Fprintf(&b, "# %s\n%d\n", title, r.StatusCode)
		for _, name := range slices.Sorted(maps.Keys(r.names)) {
			if name == "Date" || name == "Content-Length" || name == "Connection" {
				continue
			}
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(r.Header.Values(http.CanonicalHeaderKey(name)), ", "))
		}
		fmt.Fprintf(&b, "%s\n\n", r.body)
	}
	id := "X-Request-Id: test-1"
	for _, path := range []string{
		"fields", "many", "malformed", "wrapped", "conflict", "unavailable", "retry", "plain", "fiber", "panic", "nil",
		"unknown", "events?limti=1&limit=2&limit=3&key_id=%zz&details.a=1",
	} {
		show("GET /api/"+path, ts.send("GET", "/api/"+path, ts.keys.full, "", id))
	}
	show("no key", ts.send("POST", "/api/events", "", "{}", id))
	show("unknown key", ts.send("POST", "/api/events", ts.keys.unknown, "{}", id))
	show("malformed key", ts.send("POST", "/api/events", "kp_live_x", "{}", id))
	show("revoked key", ts.send("POST", "/api/events", ts.keys.revoked, "{}", id))
	show("scope", ts.send("POST", "/api/events", ts.keys.readOnly, "{}", id))
	show("method", ts.send("DELETE", "/api/events", ts.keys.full, "", id))
	show("strange method", ts.send("BREW", "/api/events", ts.keys.full, "", id))
	show("strange method, unknown path", ts.send("BREW", "/api/none", ts.keys.full, "", id))
	show("media type", ts.send("POST", "/api/events", ts.keys.full, "a=b", id, "Content-Type: text/plain"))
	show("content encoding", ts.send("POST", "/api/events", ts.keys.full, "x", id, "Content-Encoding: compress"))
	show("too large", ts.send("POST", "/api/events", ts.keys.full, strings.Repeat("x", 3<<20), id))
	show("no HTTP", ts.raw("hello\r\n\r\n"))
	ts.send("GET", "/api/ok", ts.keys.limited, "")
	ts.send("GET", "/api/ok", ts.keys.limited, "")
	show("rate limit", ts.send("GET", "/api/ok", ts.keys.limited, "", id))

	uuid := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	got := uuid.ReplaceAllString(b.String(), "<uuid>")
	if strings.Contains(got, "secret") {
		t.Error("an answer tells what happened inside")
	}
	golden(t, "errors.golden", got)
}

func TestErrorsAreLoggedWithTheirCause(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	f := func(path, level, cause string) {
		t.Helper()
		ts.logs.TakeAll()
		ts.send("GET", path+"?actor=private", ts.keys.full, "", "X-Request-Id: test-1")
		var lines []string
		eventually(t, "a line in the log", func() bool {
			for _, e := range ts.logs.TakeAll() {
				lines = append(lines, fmt.Sprint(e.Level, " ", e.Message, " ", e.ContextMap()))
			}
			return len(lines) > 0
		})
		if len(lines) != 1 {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		for _, want := range []string{level + " request", "request_id:test-1", "path:" + path, "tenant:acme", "api_key:ak_full", cause} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%s: no %q in %s", path, want, lines[0])
			}
		}
		for _, not := range []string{"kp_live", "Bearer", "private"} {
			if strings.Contains(lines[0], not) {
				t.Errorf("%s: %q in %s", path, not, lines[0])
			}
		}
	}
	f("/api/ok", "debug", "status:200")
	f("/api/conflict", "info", "code:conflict")
	f("/api/plain", "error", "error:secret detail")
	f("/api/panic", "error", "panic: secret detail")
	f("/api/unavailable", "error", "error:secret detail")
	f("/api/none", "info", "status:404")
}
