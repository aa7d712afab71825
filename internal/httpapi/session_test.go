package httpapi

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
)

func withSessions(cfg *Config) { cfg.Sessions = true }

// signIn signs in and returns the cookie as a browser sends it back.
func (ts *testServer) signIn(key string, headers ...string) (cookie string, r response) {
	ts.Helper()
	r = ts.send("POST", SessionPath, "", fmt.Sprintf(`{"api_key":%q}`, key), headers...)
	cookie, _, _ = strings.Cut(r.Header.Get("Set-Cookie"), ";")
	return "Cookie: " + cookie, r
}

func TestSession(t *testing.T) {
	ts := start(t, withSessions, errorRoutes)
	cookie, r := ts.signIn(ts.keys.full)
	if r.StatusCode != 201 || !strings.Contains(r.body, `"tenant":"acme","api_key_id":"ak_full"`) || strings.Contains(r.body, ts.keys.full) {
		t.Fatalf("signing in: %d %s", r.StatusCode, r.body)
	}
	if got, want := r.Header.Get("Set-Cookie"), "keypulse_session="+ts.keys.full+"; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"; got != want {
		t.Errorf("Set-Cookie %q, want %q", got, want)
	}
	if _, r := ts.signIn(ts.keys.full, "X-Forwarded-Proto: https"); !strings.HasSuffix(r.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("over TLS: %q", r.Header.Get("Set-Cookie"))
	}
	if r := ts.send("GET", SessionPath, "", "", cookie); r.StatusCode != 200 || !strings.Contains(r.body, `"name":"ak_full"`) {
		t.Errorf("who am I: %d %s", r.StatusCode, r.body)
	}
	if r := ts.send("GET", "/api/events", "", "", cookie); r.StatusCode != 200 || r.Header.Get("X-RateLimit-Limit") != "100" {
		t.Errorf("with the cookie: %d %v", r.StatusCode, r.Header)
	}
	if r := ts.send("GET", "/api/events", ts.keys.unknown, "", cookie); r.StatusCode != 401 {
		t.Errorf("an Authorization header goes before the cookie: %d", r.StatusCode)
	}
	r = ts.send("DELETE", SessionPath, "", "", cookie, "Sec-Fetch-Site: same-origin")
	if r.StatusCode != 204 || !strings.Contains(r.Header.Get("Set-Cookie"), "keypulse_session=; ") || !strings.Contains(r.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("signing out: %d %v", r.StatusCode, r.Header)
	}
	for _, entry := range ts.logs.All() {
		if strings.Contains(fmt.Sprint(entry.ContextMap()), ts.keys.full) {
			t.Errorf("the log has the API key: %v", entry)
		}
	}
}

// TestSessionRefuses tries keys that open nothing: a cookie is worth what its key is, and every 401 is the same.
func TestSessionRefuses(t *testing.T) {
	ts := start(t, withSessions, errorRoutes)
	answer := func(r response, status int) string {
		t.Helper()
		if r.StatusCode != status || r.Header.Get("Set-Cookie") != "" {
			t.Errorf("%d %v %s, want %d without a cookie", r.StatusCode, r.Header, r.body, status)
		}
		r.Header.Del("Date")
		return fmt.Sprint(r.Header, r.body)
	}
	want := answer(ts.send("GET", "/api/events", "", "", "X-Request-Id: x"), 401)
	for _, key := range []string{"", "x", ts.keys.unknown, ts.keys.full[:47], ts.keys.full + "0"} {
		_, r := ts.signIn(key, "X-Request-Id: x")
		if got := answer(r, 401); got != want {
			t.Errorf("signing in with %.20q: %s, want %s", key, got, want)
		}
		if got := answer(ts.send("GET", "/api/events", "", "", "X-Request-Id: x", "Cookie: keypulse_session="+key), 401); got != want {
			t.Errorf("a cookie with %.20q: %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{ts.keys.revoked, ts.keys.expired} {
		_, r := ts.signIn(key)
		answer(r, 403)
		answer(ts.send("GET", SessionPath, "", "", "Cookie: keypulse_session="+key), 403)
	}
	for body, status := range map[string]int{`{`: 400, `{"api_key":7}`: 400, `{"api_key":"a","b":1}`: 400, `[]`: 400, "": 400, strings.Repeat(" ", 5000): 413} {
		answer(ts.send("POST", SessionPath, "", body), status)
	}
	none := start(t, nil, errorRoutes)
	none.want(none.send("GET", "/api/events", "", "", "Cookie: keypulse_session="+none.keys.full), 401, CodeUnauthorized)
	none.want(none.send("POST", SessionPath, "", `{}`), 404, CodeNotFound)
}

// TestSessionOfAnotherSite sends what another site's page can make a browser send.
func TestSessionOfAnotherSite(t *testing.T) {
	ts := start(t, withSessions, errorRoutes)
	cookie := "Cookie: keypulse_session=" + ts.keys.unlimited
	for _, c := range []struct {
		method, path string
		headers      string
		allowed      bool
	}{
		{"POST", "/api/events", "", false},
		{"POST", "/api/events", "Sec-Fetch-Site: same-origin", true},
		{"POST", "/api/events", "Sec-Fetch-Site: same-site", false}, // another port of this host
		{"POST", "/api/events", "Sec-Fetch-Site: cross-site\r\nOrigin: http://x", false},
		{"POST", "/api/events", "Origin: http://x", true},
		{"POST", "/api/events", "Origin: http://X", true},
		{"POST", "/api/events", "Origin: http://x.evil", false},
		{"POST", "/api/events", "Origin: http://x:81", false},
		{"POST", "/api/events", "Origin: null", false},
		{"GET", "/api/events", "", true},
		{"GET", "/api/events", "Sec-Fetch-Site: none", true},
		{"GET", "/api/events", "Sec-Fetch-Site: cross-site", false},
		{"GET", "/api/events", "Origin: http://evil", false},
		{"DELETE", SessionPath, "", false},
		{"DELETE", SessionPath, "Origin: http://evil", false},
		{"POST", SessionPath, "Origin: http://evil", false},
		{"POST", SessionPath, "Sec-Fetch-Site: cross-site", false},
	} {
		body := ""
		if c.method == "POST" {
			body = fmt.Sprintf(`{"api_key":%q}`, ts.keys.unlimited)
		}
		headers := []string{cookie}
		if c.headers != "" {
			headers = append(headers, c.headers)
		}
		r := ts.send(c.method, c.path, "", body, headers...)
		if refused := r.StatusCode == 403 && strings.Contains(r.body, CodeCrossOrigin); refused == c.allowed {
			t.Errorf("%s %s %q: %d %s", c.method, c.path, c.headers, r.StatusCode, r.body)
		}
	}
	// Who has the key itself is no browser.
	if r := ts.send("POST", "/api/events", ts.keys.full, "{}", "Sec-Fetch-Site: cross-site"); r.StatusCode != 201 {
		t.Errorf("with the key: %d %s", r.StatusCode, r.body)
	}
}

func TestSignInIsLimited(t *testing.T) {
	ts := start(t, withSessions, errorRoutes)
	for range signInLimit {
		if _, r := ts.signIn(ts.keys.unknown); r.StatusCode != 401 {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
	}
	_, r := ts.signIn(ts.keys.full)
	ts.want(r, 429, CodeRateLimited)
	if r.Header.Get("Retry-After") == "" || r.Header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("headers %v", r.Header)
	}
	if r := ts.get("/api/events", ts.keys.full); r.StatusCode != 200 {
		t.Errorf("others: %d", r.StatusCode)
	}
	_, _ = ts.signIn(ts.keys.limited)
	ts.now = func() time.Time { return noon.Add(time.Minute) }
	if _, r := ts.signIn(ts.keys.full); r.StatusCode != 201 {
		t.Errorf("a minute later: %d", r.StatusCode)
	}
}

// TestSignInBehindAProxy has one client use up its tries: the proxy's others have theirs.
func TestSignInBehindAProxy(t *testing.T) {
	ts := start(t, func(cfg *Config) {
		cfg.Sessions, cfg.Proxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}, errorRoutes)
	for range signInLimit + 1 {
		_, _ = ts.signIn(ts.keys.unknown, "X-Forwarded-For: 192.0.2.1")
	}
	for address, status := range map[string]int{"192.0.2.1": 429, "192.0.2.2": 201} {
		if _, r := ts.signIn(ts.keys.full, "X-Forwarded-For: "+address); r.StatusCode != status {
			t.Errorf("%s: %d", address, r.StatusCode)
		}
	}
}

func TestTickets(t *testing.T) {
	var used atomic.Bool
	broken := errors.New("the log is away")
	var fails atomic.Bool
	ts := start(t, func(cfg *Config) {
		cfg.UseTicket = func(auth.Ticket) error {
			switch {
			case fails.Load():
				return broken
			case used.Swap(true):
				return fmt.Errorf("look: %w", auth.ErrTicketUsed)
			}
			return nil
		}
	}, func(app *fiber.App) {
		app.Get(StreamPath, Require(auth.ScopeRead), func(c *fiber.Ctx) error { return JSON(c, 200, IdentityOf(c).KeyID) })
		app.Get("/api/events", Require(auth.ScopeRead), func(c *fiber.Ctx) error { return c.SendStatus(200) })
	})
	table := ts.cfg.Auth.table
	ticket := func(id string) string {
		_, text := table.NewTicket(id, ts.now())
		return StreamPath + "?ticket=" + text
	}
	target := ticket("ak_full")
	ts.want(ts.get(strings.Replace(target, StreamPath, "/api/events", 1), ""), 401, CodeUnauthorized)
	if r := ts.get(target, ""); r.StatusCode != 200 || r.body != `"ak_full"` || r.Header.Get("X-RateLimit-Remaining") != "99" {
		t.Errorf("first use: %d %s %v", r.StatusCode, r.body, r.Header)
	}
	refused := ts.send("GET", target, "", "", "X-Request-Id: x")
	want := ts.send("GET", StreamPath, "", "", "X-Request-Id: x")
	if refused.StatusCode != 401 || refused.body != want.body {
		t.Errorf("second use: %d %s, want %d %s", refused.StatusCode, refused.body, want.StatusCode, want.body)
	}
	used.Store(false)
	for _, bad := range []string{"x", "kp_ticket_", "kp_ticket_AAAA", target[len(StreamPath+"?ticket="):] + "A", strings.Repeat("k", 600), ts.keys.full} {
		ts.want(ts.get(StreamPath+"?ticket="+bad, ""), 401, CodeUnauthorized)
	}
	ts.want(ts.get(ticket("ak_nobody"), ""), 401, CodeUnauthorized)
	ts.want(ts.get(ticket("ak_revoked"), ""), 403, CodeForbidden)
	late := ticket("ak_full")
	ts.now = func() time.Time { return noon.Add(auth.TicketLife) }
	ts.want(ts.get(late, ""), 401, CodeUnauthorized)
	if used.Load() {
		t.Error("a bad ticket was used")
	}
	fails.Store(true)
	ts.want(ts.get(ticket("ak_full"), ""), 503, CodeUnavailable)
	for _, entry := range ts.logs.All() {
		if strings.Contains(fmt.Sprint(entry.ContextMap()), "kp_ticket_") {
			t.Errorf("the log has a ticket: %v", entry)
		}
	}
}
