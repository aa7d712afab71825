package httpapi

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

const bulkLimit = 10 << 20

// bounded takes two large bodies at a time: 16 MiB each, of three quarters of 48.
func bounded(t *testing.T, edit func(*Config)) *testServer {
	t.Helper()
	return start(t, func(cfg *Config) {
		cfg.BodyLimits = map[string]int{"/api/bulk": bulkLimit}
		cfg.BodiesLimit = 48 << 20
		if edit != nil {
			edit(cfg)
		}
	}, func(app *fiber.App) {
		errorRoutes(app)
		app.Post("/api/bulk", func(c *fiber.Ctx) error { return JSON(c, 200, len(c.Body())) })
		app.Post("/api/crash", func(c *fiber.Ctx) error { panic(len(c.Body())) })
	})
}

// announce sends the header of a POST and what else is given.
func (ts *testServer) announce(path, key, header, begin string) *net.TCPConn {
	ts.Helper()
	c := ts.dial()
	ts.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n%s", path, key, header, begin); err != nil {
		ts.Fatal(err)
	}
	return c
}

func (ts *testServer) awaitHeld(want int64) {
	ts.Helper()
	eventually(ts.T, fmt.Sprintf("%d bytes held", want), func() bool { return ts.bodies.held.Load() == want })
}

// wantOverloaded checks a refusal: it tells when to come again, and the connection ends.
func (ts *testServer) wantOverloaded(r response) {
	ts.Helper()
	ts.want(r, 503, CodeOverloaded)
	if r.Header.Get("Retry-After") != "1" || !r.Close {
		ts.Errorf("Retry-After %q, close %v", r.Header.Get("Retry-After"), r.Close)
	}
}

// Clients that announce much more than the node has room for are answered before their bodies cost anything; meanwhile
// small requests are served; and who was let in can finish.
func TestBodiesAreBounded(t *testing.T) {
	ts := bounded(t, nil)
	length := fmt.Sprintf("Content-Length: %d", bulkLimit)
	first := ts.announce("/api/bulk", ts.keys.unlimited, length, "x")
	second := ts.announce("/api/bulk", ts.keys.unlimited, "Transfer-Encoding: chunked", "1\r\nx\r\n")
	ts.awaitHeld(32 << 20)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	headers := []string{
		length,
		length + "\r\nExpect: 100-continue",
		"Transfer-Encoding: chunked",
		length + "\r\nContent-Encoding: gzip",
		"Content-Encoding: gzip\r\nContent-Length: 65537",
	}
	for i := range 200 {
		ts.wantOverloaded(ts.read(ts.announce("/api/bulk", ts.keys.unlimited, headers[i%len(headers)], "400\r\n"), false))
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("200 refusals allocated %d MiB", grown>>20)
	}
	if r := ts.send("POST", "/api/events", ts.keys.full, "{}"); r.StatusCode != 201 {
		t.Errorf("a small request beside them: %d %s", r.StatusCode, r.body)
	}
	ts.awaitHeld(32 << 20)

	f := func(c net.Conn, rest, want string) {
		t.Helper()
		if _, err := io.WriteString(c, rest); err != nil {
			t.Fatal(err)
		}
		if r := ts.read(c, false); r.StatusCode != 200 || r.body != want {
			t.Errorf("%d %s", r.StatusCode, r.body)
		}
	}
	f(first, strings.Repeat("x", bulkLimit-1), fmt.Sprint(bulkLimit))
	f(second, "3\r\nabc\r\n0\r\n\r\n", "4")
	ts.awaitHeld(0) // although both connections stay open
	if r := ts.send("POST", "/api/bulk", ts.keys.full, strings.Repeat("x", bulkLimit)); r.StatusCode != 200 {
		t.Errorf("when there is room again: %d %s", r.StatusCode, r.body)
	}
}

// A client that sends everything before it reads can still read the refusal.
func TestOverloadedIsAnsweredToAClientThatSendsFirst(t *testing.T) {
	ts := bounded(t, func(cfg *Config) { cfg.BodiesLimit = 1 << 20 })
	for range 5 {
		ts.wantOverloaded(ts.send("POST", "/api/bulk", ts.keys.full, strings.Repeat("x", bulkLimit)))
	}
}

// What a body takes is given back, however its request ends.
func TestBodiesAreReleased(t *testing.T) {
	ts := bounded(t, nil)
	length := fmt.Sprintf("Content-Length: %d", bulkLimit)
	c := ts.announce("/api/bulk", ts.keys.full, length, "x")
	ts.awaitHeld(16 << 20)
	c.Close()
	ts.awaitHeld(0)

	c = ts.announce("/api/bulk", ts.keys.full, length+"\r\nExpect: 100-continue", "")
	ts.awaitHeld(16 << 20)
	c.Close()
	ts.awaitHeld(0)

	ts.want(ts.read(ts.announce("/api/bulk", ts.keys.full, "Transfer-Encoding: chunked", "zz\r\n"), false), 400, CodeInvalidRequest)
	ts.want(ts.send("POST", "/api/crash", ts.keys.full, strings.Repeat("x", 1<<20)), 500, CodeInternal)
	ts.want(ts.send("POST", "/api/none", ts.keys.full, strings.Repeat("x", 1<<20)), 404, CodeNotFound)
	ts.awaitHeld(0)
}

// Without a valid key nobody takes room: a large body is refused by its header.
func TestLargeBodiesNeedAKey(t *testing.T) {
	ts := bounded(t, nil)
	length := fmt.Sprintf("Content-Length: %d", bulkLimit)
	ts.want(ts.read(ts.announce("/api/bulk", ts.keys.unknown, length, ""), false), 401, CodeUnauthorized)
	ts.want(ts.read(ts.announce("/api/bulk", ts.keys.revoked, "Transfer-Encoding: chunked", "400\r\n"), false), 403, CodeForbidden)
	ts.want(ts.read(ts.announce("/other", ts.keys.unknown, "Content-Length: 100000\r\nExpect: 100-continue", ""), false), 401, CodeUnauthorized)
	ts.awaitHeld(0)
}

// A large body has time as long as it makes progress, and no more.
func TestSlowBodiesAreCut(t *testing.T) {
	ts := bounded(t, func(cfg *Config) { cfg.ReadTimeout = 200 * time.Millisecond })
	length := fmt.Sprintf("Content-Length: %d", 1<<20)
	begin := time.Now()
	c := ts.announce("/api/bulk", ts.keys.full, length, strings.Repeat("x", 256<<10)) // worth 4 s
	r := ts.read(ts.announce("/api/bulk", ts.keys.full, length, "x"), false)
	ts.want(r, 408, CodeRequestTimeout)
	if !strings.Contains(r.body, "too slowly") {
		t.Errorf("408 does not say why: %s", r.body)
	}
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("cut after %v", took)
	}
	if _, err := io.WriteString(c, strings.Repeat("x", 768<<10)); err != nil {
		t.Fatal(err)
	}
	if r := ts.read(c, false); r.StatusCode != 200 {
		t.Errorf("the one that made progress: %d %s", r.StatusCode, r.body)
	}
	ts.awaitHeld(0)
}

// deadline is a connection's deadline alone.
type deadline struct{ time.Time }

func (d *deadline) SetReadDeadline(t time.Time) error {
	d.Time = t
	return nil
}

func TestPace(t *testing.T) {
	var p pace
	var d deadline
	f := func(want time.Duration) {
		t.Helper()
		if got := d.Sub(noon); got != want {
			t.Errorf("the deadline is at %v, want %v", got, want)
		}
	}
	p.start(&d, noon, 15*time.Second, bulkLimit)
	f(15 * time.Second)
	for range 64 {
		p.advance(&d, minBodyRate/64)
	}
	f(16 * time.Second)
	p.advance(&d, 10*minBodyRate)
	f(26 * time.Second)
	p.advance(&d, 100*bulkLimit) // more than a body has, as the envelopes of tiny chunks can be
	f(175 * time.Second)
}

// Over the limit a connection is told so, except for who asks how the node is; far over it, it is closed.
func TestConnectionsAreBounded(t *testing.T) {
	ts := bounded(t, func(cfg *Config) { cfg.MaxConnections = 4 })
	var idle []net.Conn
	for range 4 {
		c := ts.dial()
		idle = append(idle, c)
		fmt.Fprintf(c, "GET /api/ok HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := ts.read(c, false); r.StatusCode != 200 {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
	}
	for _, body := range []string{"", "{}", strings.Repeat("x", 1<<20)} {
		ts.wantOverloaded(ts.send("POST", "/api/events", ts.keys.full, body))
	}
	ts.wantOverloaded(ts.get("/api/ok", ""))
	for range 2 {
		c := ts.dial()
		fmt.Fprintf(c, "GET /healthz?x HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := ts.read(c, false); r.StatusCode != 200 || !r.Close {
			t.Errorf("health: %d %s, close %v", r.StatusCode, r.body, r.Close)
		}
		c.Close()
	}
	eventually(t, "the surplus to be gone", func() bool { return ts.conns.count() == 4 })
	for range surplus {
		idle = append(idle, ts.dial())
	}
	eventually(t, "all to be accepted", func() bool { return ts.conns.count() == 4+surplus })
	c := ts.dial()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("one too many reads %d bytes", n)
	}
	c.Close()
	for _, c := range idle {
		c.Close()
	}
	eventually(t, "all to be gone", func() bool { return ts.conns.count() == 0 })
	if r := ts.get("/api/ok", ""); r.StatusCode != 200 {
		t.Errorf("when there is room again: %d %s", r.StatusCode, r.body)
	}
}
