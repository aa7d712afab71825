package httpapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
)

// Whatever is answered to an authenticated request says what is left; nothing else does.
func TestRateLimitHeaders(t *testing.T) {
	ts := start(t, nil, func(app *fiber.App) {
		errorRoutes(app)
		app.Get("/api/stats", func(c *fiber.Ctx) error { return JSON(c, 200, "public") })
		app.Get("/other", func(c *fiber.Ctx) error { return JSON(c, 200, "other") })
	})
	f := func(method, path, key string, status int, want string) {
		t.Helper()
		r := ts.send(method, path, key, "")
		got := strings.Join([]string{r.Header.Get("X-RateLimit-Limit"), r.Header.Get("X-RateLimit-Remaining"), r.Header.Get("X-RateLimit-Reset")}, " ")
		if r.StatusCode != status || got != want {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, r.StatusCode, got, status, want)
		}
		wantDraft := ""
		if parts := strings.Fields(want); len(parts) == 3 {
			wantDraft = fmt.Sprintf(`"default";q=%s;w=60 "default";r=%s;t=%s`, parts[0], parts[1], parts[2])
		}
		if draft := strings.TrimSpace(r.Header.Get("RateLimit-Policy") + " " + r.Header.Get("RateLimit")); draft != wantDraft {
			t.Errorf("%s %s: the draft's headers are %q, want %q", method, path, draft, wantDraft)
		}
		if want != "  " && !r.names["X-RateLimit-Limit"] {
			t.Errorf("%s %s: spelling of %v", method, path, r.names)
		}
	}
	k := ts.keys
	f("GET", "/api/ok", k.full, 200, "100 99 60")
	f("GET", "/api/none", k.full, 404, "100 98 60")
	f("PUT", "/api/events", k.full, 405, "100 97 60")
	f("GET", "/api/panic", k.full, 500, "100 96 60")
	f("HEAD", "/api/events", k.full, 200, "100 95 60")
	f("OPTIONS", "/api/events", k.full, 204, "100 94 60")
	f("BREW", "/api/events", k.full, 405, "100 93 60")
	f("GET", "/api", k.full, 404, "100 92 60")
	f("POST", "/api/stats", k.full, 405, "100 91 60")

	f("GET", "/api/stats", k.full, 200, "  ")
	f("GET", "/api/stats", k.revoked, 200, "  ")
	f("GET", "/api/stats?x=1", "", 200, "  ")
	f("GET", "/other", k.full, 200, "  ")
	f("GET", "/apis", k.full, 404, "  ")
	f("GET", "/api/none", k.unknown, 404, "  ")
	f("GET", "/api/none", k.revoked, 404, "  ")
	f("GET", "/api/events", k.revoked, 403, "  ")
	f("GET", "/api/events", k.expired, 403, "  ")
	f("GET", "/api/events", k.unknown, 401, "  ")
	f("GET", "/api/events", "", 401, "  ")
	f("GET", "/api/events", k.unlimited, 200, "0  ")
	f("GET", "/api/none", k.unlimited, 404, "0  ")

	f("GET", "/api/none", k.limited, 404, "2 1 60")
	ts.now = func() time.Time { return noon.Add(30 * time.Second) }
	f("GET", "/api/ok", k.limited, 200, "2 0 30")
	f("GET", "/api/ok", k.limited, 429, "2 0 30")
	f("GET", "/api/none", k.limited, 429, "2 0 30")
	f("GET", "/api/stats", k.limited, 200, "  ")
	ts.now = func() time.Time { return noon.Add(60 * time.Second) }
	f("GET", "/api/ok", k.limited, 200, "2 0 30")
}

// Whatever is wrong with a key, the answer is the same to the byte, but for the request's id: a 401 tells nobody how
// near he was.
func TestEvery401IsAlike(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	k := ts.keys
	answer := func(headers ...string) string {
		t.Helper()
		r := ts.send("GET", "/api/events", "", "", append(headers, "X-Request-Id: the-same")...)
		if r.StatusCode != 401 {
			t.Errorf("%q: %d", headers, r.StatusCode)
		}
		r.Header.Del("Date")
		return fmt.Sprint(r.Header, r.body)
	}
	want := answer()
	for _, token := range []string{
		"", "x", "kp_live_", k.unknown, k.full[:len(k.full)-1], k.full + "0", k.full[:len(k.full)-1] + "!", k.full[:20] + k.unknown[20:],
		strings.ToLower(k.full), strings.Repeat("k", 4000), k.full + "," + k.full,
	} {
		if got := answer("Authorization: Bearer " + token); got != want {
			t.Errorf("%.60q: %s, want %s", token, got, want)
		}
	}
	for _, header := range []string{"Authorization: Basic " + k.full, "Authorization: " + k.full, "Authorization:", "X-Api-Key: " + k.full} {
		if got := answer(header); got != want {
			t.Errorf("%.60q: %s, want %s", header, got, want)
		}
	}
}

func TestBearer(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	k := ts.keys.full
	f := func(status int, headers ...string) {
		t.Helper()
		if r := ts.send("GET", "/api/events", "", "", headers...); r.StatusCode != status {
			t.Errorf("%q: %d, want %d", headers, r.StatusCode, status)
		}
	}
	f(200, "Authorization: Bearer "+k)
	f(200, "authorization: bearer  "+k+" ")
	f(401, "Authorization: "+k)
	f(401, "Authorization: Bearer"+k)
	f(401, "Authorization: Bearer")
	f(401, "Authorization: Basic "+k)
	f(401, "Authorization: Bearer "+k+" x")
	f(401, "Authorization: Bearer "+k, "Authorization: Bearer "+k)
}

// IdentityOf and RequestID are copies: what a handler keeps of them outlives the request.
func TestIdentityAndRequestID(t *testing.T) {
	var identities []auth.Identity
	var ids []string
	ts := start(t, nil, func(app *fiber.App) {
		app.Get("/api/who", Require(auth.ScopeRead), func(c *fiber.Ctx) error {
			identities = append(identities, IdentityOf(c))
			ids = append(ids, RequestID(c))
			return JSON(c, 200, "ok")
		})
	})
	c := ts.dial()
	defer c.Close()
	for _, id := range []string{"first", "second"} {
		fmt.Fprintf(c, "GET /api/who HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\nAuthorization: Bearer %s\r\n\r\n", id, ts.keys.full)
		ts.read(c, false)
	}
	if strings.Join(ids, " ") != "first second" {
		t.Errorf("ids %q", ids)
	}
	if identities[0].Tenant.Name() != "acme" || identities[0].KeyID != "ak_full" || identities[1].RateLimit != 100 {
		t.Errorf("identities %+v", identities)
	}
}

func TestRequestIDs(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	f := func(sent string, kept bool) {
		t.Helper()
		got := ts.send("GET", "/api/ok", "", "", "X-Request-Id: "+sent).Header.Get("X-Request-Id")
		if kept != (got == sent) || !kept && !uuid.MatchString(got) {
			t.Errorf("%q became %q", sent, got)
		}
	}
	f("a", true)
	f("Root=1-67891233-abcdef012345678912345678", true)
	f(strings.Repeat("x", 128), true)
	f(strings.Repeat("x", 129), false)
	f("", false)
	f("a b", false)
	f(`a"b`, false)
	f("aé", false)
}

func TestHeadAndOptions(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	for path, want := range map[string]int{"/api/ok": 200, "/api/none": 404, "/api/conflict": 409, "/healthz": 200} {
		r := ts.send("HEAD", path, "", "")
		if r.StatusCode != want || r.body != "" || r.ContentLength <= 0 {
			t.Errorf("HEAD %s: %d, %d bytes announced, body %q", path, r.StatusCode, r.ContentLength, r.body)
		}
	}
	r := ts.send("OPTIONS", "/api/events", "", "")
	if r.StatusCode != 204 || r.Header.Get("Allow") != "GET, HEAD, POST, OPTIONS" || r.body != "" {
		t.Errorf("OPTIONS: %d, Allow %q, body %q", r.StatusCode, r.Header.Get("Allow"), r.body)
	}
	ts.want(ts.send("OPTIONS", "/api/none", "", ""), 404, CodeNotFound)
}

// Paths match as they are written: no case folding, no trailing slash, no decoding that authentication would not see.
func TestPathsAreExact(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	for _, path := range []string{"/api/events/", "/API/events", "/api/EVENTS", "//api/events", "/api//events", "/%61pi/events", "/api/../api/events"} {
		ts.want(ts.send("POST", path, ts.keys.full, "{}"), 404, CodeNotFound)
	}
}

func TestOneConnectionManyRequests(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	c := ts.dial()
	defer c.Close()
	post := func(key, body string) response {
		fmt.Fprintf(c, "POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
		return ts.read(c, false)
	}
	ts.want(post(ts.keys.unknown, "{}"), 401, CodeUnauthorized)
	if r := post(ts.keys.full, "{}"); r.StatusCode != 201 {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	fmt.Fprintf(c, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n") // nothing of the key before is left
	ts.want(ts.read(c, false), 401, CodeUnauthorized)
}

func TestHealth(t *testing.T) {
	ts := start(t, nil, nil)
	if r := ts.get("/healthz", ""); r.StatusCode != 200 || r.body != `{"success":true,"status":"ok"}` {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := ts.get("/readyz", ""); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	var clickhouse error
	ts.AddCheck("clickhouse", func(context.Context) error { return clickhouse })
	ts.AddCheck("kafka", func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		return nil
	})
	if r := ts.get("/readyz", ""); r.StatusCode != 200 || r.body != `{"checks":{"clickhouse":"ok","kafka":"ok"},"status":"ready","success":true}` {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	clickhouse = errors.New("it does not answer")
	ts.AddCheck("processor", func(context.Context) error { panic("oh") })
	r := ts.get("/readyz", "")
	ts.want(r, 503, CodeNotReady)
	for _, want := range []string{"Not ready: clickhouse, processor.", `"clickhouse":"it does not answer"`, `"kafka":"ok"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s in %s", want, r.body)
		}
	}
}

func TestMetrics(t *testing.T) {
	ts := start(t, nil, func(app *fiber.App) {
		errorRoutes(app)
		app.Get("/api/things/:id<int>/parts/:part?", func(c *fiber.Ctx) error { return Raw(c, 200, nil) })
	})
	ts.get("/api/ok", "")
	ts.get("/api/things/1/parts/a", "")
	ts.get("/api/things/2/parts/b", "")
	ts.get("/api/random-"+strings.Repeat("x", 50), "")
	ts.send("BREW", "/api/ok", "", "")
	ts.raw("nonsense\r\n\r\n")
	eventually(t, "the metrics", func() bool {
		r := ts.get("/metrics", "")
		for _, want := range []string{
			`keypulse_http_request_duration_seconds_count{method="GET",route="/api/ok",status="200"} 1`,
			`keypulse_http_request_duration_seconds_count{method="GET",route="none",status="404"} 1`,
			`keypulse_http_request_duration_seconds_count{method="other",route="none",status="405"} 1`,
			`keypulse_http_request_duration_seconds_count{method="GET",route="/api/things/{id}/parts/{part}",status="200"} 2`,
			`route="none",status="400"} 1`,
			"go_goroutines", "process_open_fds",
		} {
			if !strings.Contains(r.body, want) {
				return false
			}
		}
		return !strings.Contains(r.body, "random") && strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain")
	})
}

func TestTheRootNamesThePaths(t *testing.T) {
	ts := start(t, nil, nil)
	r := ts.get("/", "")
	ts.want(r, 404, CodeNotFound)
	for _, path := range []string{"/api", "/readyz", "/metrics"} {
		if !strings.Contains(r.body, path) {
			t.Errorf("no %s in %s", path, r.body)
		}
	}
}

func TestWithoutAuthNobodyIsKnown(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.Auth = nil }, errorRoutes)
	ts.want(ts.get("/api/events", ts.keys.full), 401, CodeUnauthorized)
	if r := ts.get("/api/ok", ts.keys.full); r.StatusCode != 200 || r.Header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
}

func TestJSONKeepsText(t *testing.T) {
	ts := start(t, nil, func(app *fiber.App) {
		app.Get("/api/json", func(c *fiber.Ctx) error { return JSON(c, 200, map[string]string{"a": "<&>\u2028é"}) })
		app.Get("/api/bad", func(c *fiber.Ctx) error { return JSON(c, 200, func() {}) })
	})
	if r := ts.get("/api/json", ""); r.body != `{"a":"<&>\u2028é"}` || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", r.body, r.Header)
	}
	ts.want(ts.get("/api/bad", ""), 500, CodeInternal)
}

// Many clients at once, for the race detector.
func TestConcurrentRequests(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	done := make(chan bool)
	for range 8 {
		go func() {
			defer func() { done <- true }()
			c := ts.dial()
			defer c.Close()
			for i := range 100 {
				fmt.Fprintf(c, "GET /api/events?limit=%d HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", i, ts.keys.unlimited)
				if r := ts.read(c, false); r.body != fmt.Sprintf(`{"limit":"%d"}`, i) {
					t.Errorf("%d %s", r.StatusCode, r.body)
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
}
