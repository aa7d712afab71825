package httpapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// A client that sends everything before it reads must still read the answer. Without the drain the kernel resets the
// connection, and the answer is lost.
func TestTooLargeIsAnsweredToAClientThatSendsFirst(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	for _, size := range []int{2<<20 + 1, 3 << 20, 20 << 20} {
		for range 5 {
			c := ts.dial()
			fmt.Fprintf(c, "POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n", size, ts.keys.unlimited)
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatalf("send %d bytes: %v", size, err)
			}
			r := ts.read(c, false)
			ts.want(r, 413, CodeBodyTooLarge)
			if r.Header.Get("X-RateLimit-Limit") != "0" || !r.Close {
				t.Errorf("headers %v, close %v", r.Header, r.Close)
			}
			c.Close()
		}
	}
}

func TestTooLargeInChunks(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	c := ts.dial()
	defer c.Close()
	fmt.Fprintf(c, "POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", ts.keys.full)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
	for range 48 {
		if _, err := io.WriteString(c, chunk); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(c, "0\r\n\r\n")
	ts.want(ts.read(c, false), 413, CodeBodyTooLarge)
}

func TestTooLargeWithGosClient(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second}}
	defer client.CloseIdleConnections()
	for _, expect := range []string{"", "100-continue"} {
		req, _ := http.NewRequest("POST", "http://"+ts.addr+"/api/events", bytes.NewReader(make([]byte, 3<<20)))
		req.Header.Set("Authorization", "Bearer "+ts.keys.full)
		if expect != "" {
			req.Header.Set("Expect", expect)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("expect %q: %v", expect, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 413 || !bytes.Contains(body, []byte(`"success":false`)) {
			t.Errorf("expect %q: %d %s", expect, resp.StatusCode, body)
		}
	}
}

func TestTheBodyAtItsLimitIsTaken(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.BodyLimits = map[string]int{"/api/bulk": 4 << 20} }, func(app *fiber.App) {
		errorRoutes(app)
		app.Post("/api/bulk", func(c *fiber.Ctx) error { return JSON(c, 200, len(c.Body())) })
	})
	if r := ts.send("POST", "/api/events", ts.keys.full, strings.Repeat("x", 2<<20)); r.StatusCode != 201 {
		t.Errorf("2 MiB: %d %s", r.StatusCode, r.body)
	}
	if r := ts.send("POST", "/api/bulk?x=1", ts.keys.full, strings.Repeat("x", 4<<20)); r.StatusCode != 200 {
		t.Errorf("4 MiB where they are allowed: %d %s", r.StatusCode, r.body)
	}
	ts.want(ts.send("POST", "/api/bulk", ts.keys.full, strings.Repeat("x", 4<<20+1)), 413, CodeBodyTooLarge)
}

func TestExpectContinue(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	ask := func(length int) (*net.TCPConn, *bufio.Reader) {
		c := ts.dial()
		fmt.Fprintf(c, "POST /api/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n",
			length, ts.keys.full)
		return c, bufio.NewReader(c)
	}
	c, r := ask(7)
	defer c.Close()
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v; want 100 Continue", line, err)
	}
	r.ReadString('\n')
	io.WriteString(c, `{"a":1}`)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 201 {
		t.Fatalf("%v, %v; want 201", resp, err)
	}

	// What is too large is refused without being asked for.
	c, r = ask(3 << 20)
	defer c.Close()
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 413 {
		t.Errorf("%v, %v; want 413 at once", resp, err)
	}
}

func TestHeadersTooLarge(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	r := ts.raw("GET /api/ok HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 17<<10) + "\r\n\r\n")
	ts.want(r, 431, CodeHeadersTooLarge)
	r = ts.raw("GET /api/ok?" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n")
	ts.want(r, 431, CodeHeadersTooLarge)
	if r := ts.send("GET", "/api/ok", ts.keys.full, "", "X-Long: "+strings.Repeat("x", 15<<10)); r.StatusCode != 200 {
		t.Errorf("15 KiB of headers: %d %s", r.StatusCode, r.body)
	}
}

func TestMalformedRequests(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	secret := "kp_live_secret"
	f := func(request string) {
		t.Helper()
		r := ts.raw(request)
		ts.want(r, 400, CodeInvalidRequest)
		if strings.Contains(r.body, secret) {
			t.Errorf("the answer to %q tells what was sent: %s", request, r.body)
		}
	}
	f(secret + "\r\n\r\n")
	f("GET /api/ok\r\n\r\n")
	f("GET /api/ok HTTP/1.1\r\n\r\n") // no Host
	f("GET /api/ok HTTP/1.1\r\nHost: x\r\n" + secret + "\r\n\r\n")
	f("GET /api/ok HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret + "\r\nA\x00: b\r\n\r\n")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + ts.keys.full + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + secret)
	for _, e := range ts.logs.All() {
		if strings.Contains(fmt.Sprint(e.ContextMap()), secret) {
			t.Errorf("the log tells what was sent: %v", e.ContextMap())
		}
	}
}

func TestSlowClientsGet408(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.ReadTimeout = 100 * time.Millisecond }, errorRoutes)
	f := func(part string) {
		t.Helper()
		ts.want(ts.raw(part), 408, CodeRequestTimeout)
	}
	f("G")
	f("GET /api/ok HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
	f("POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + ts.keys.full + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123")

	// One byte now and then does not help: the deadline is the whole request's.
	c := ts.dial()
	defer c.Close()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if _, err := io.WriteString(c, "G"); err != nil {
					return
				}
			}
		}
	}()
	ts.want(ts.read(c, false), 408, CodeRequestTimeout)
	close(stop)
	<-done
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.IdleTimeout = 50 * time.Millisecond }, errorRoutes)
	c := ts.dial()
	defer c.Close()
	r := bufio.NewReader(c)
	for range 2 {
		fmt.Fprintf(c, "GET /api/ok HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("an idle connection ends with %q, %v; want nothing", rest, err)
	}
}

// A client that reads nothing is cut by the write timeout, and one that reads slowly is not.
func TestWriteTimeoutIsAboutProgress(t *testing.T) {
	ts := start(t, func(cfg *Config) { cfg.WriteTimeout = 150 * time.Millisecond }, func(app *fiber.App) {
		app.Get("/api/stream", func(c *fiber.Ctx) error {
			done := c.Context().Done()
			c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
				for range 10 {
					select {
					case <-done:
						return
					case <-time.After(50 * time.Millisecond):
					}
					w.WriteString("data\n")
					if w.Flush() != nil {
						return
					}
				}
			})
			return nil
		})
		app.Get("/api/huge", func(c *fiber.Ctx) error { return Raw(c, 200, make([]byte, 64<<20)) })
	})
	if r := ts.get("/api/stream", ""); r.StatusCode != 200 || strings.Count(r.body, "data") != 10 {
		t.Errorf("a stream of 500 ms: %d %q", r.StatusCode, r.body)
	}
	c := ts.dial()
	defer c.Close()
	io.WriteString(c, "GET /api/huge HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the connection to be cut", func() bool {
		ts.conns.mu.Lock()
		defer ts.conns.mu.Unlock()
		return len(ts.conns.open) == 0
	})
}

func TestShutdownWaitsForRequests(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	ts := start(t, nil, func(app *fiber.App) {
		app.Get("/api/slow", func(c *fiber.Ctx) error {
			close(started)
			<-finish
			return JSON(c, 200, "done")
		})
	})
	answered := make(chan response, 1)
	go func() { answered <- ts.get("/api/slow", "") }()
	<-started
	idle := ts.dial() // it has sent nothing
	defer idle.Close()

	stopped := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { stopped <- ts.Shutdown(ctx) }()
	eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", ts.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown returned %v before the request had its answer", err)
	default:
	}
	close(finish)
	if r := <-answered; r.StatusCode != 200 || r.body != `"done"` {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	ts := start(t, nil, func(app *fiber.App) {
		app.Get("/api/slow", func(*fiber.Ctx) error {
			close(started)
			<-finish
			return nil
		})
	})
	defer close(finish)
	c := ts.dial()
	defer c.Close()
	io.WriteString(c, "GET /api/slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := ts.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want deadline exceeded", err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection still lives: %d, %v", n, err)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	s := New(Config{})
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestCompressedBodies(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	zipped := func(n int) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(make([]byte, n))
		w.Close()
		return b.String()
	}
	f := func(body string, status int, want string, headers ...string) {
		t.Helper()
		if r := ts.send("POST", "/api/events", ts.keys.unlimited, body, headers...); r.StatusCode != status || !strings.Contains(r.body, want) {
			t.Errorf("%v: %d %s, want %d %s", headers, r.StatusCode, r.body, status, want)
		}
	}
	text := strings.Repeat("an event ", 1000)
	for name, body := range compressions(t, text) {
		f(body, 201, `"bytes":9000`, "Content-Encoding: "+name)
		f(body, 201, `"bytes":9000`, "Content-Encoding: identity, "+strings.ToUpper(name))
		f(body[:len(body)/2], 400, "not valid "+name, "Content-Encoding: "+name)
		f("nonsense", 400, "not valid "+name, "Content-Encoding: "+name)
	}
	for name, body := range compressions(t, strings.Repeat("\x00", 16<<20)) {
		f(body, 413, CodeBodyTooLarge, "Content-Encoding: "+name)
	}
	f(zipped(2<<20), 201, `"bytes":2097152`, "Content-Encoding: x-gzip")
	f(zipped(2<<20+1), 413, CodeBodyTooLarge, "Content-Encoding: gzip")
	f("plain", 201, `"bytes":5`, "Content-Encoding: identity")
	f("plain", 415, CodeUnsupportedMedia, "Content-Encoding: compress")
	f("plain", 415, CodeUnsupportedMedia, "Content-Encoding: gzip, gzip")
	f("plain", 415, CodeUnsupportedMedia, "Content-Encoding: gzip", "Content-Encoding: br")
}

func TestContentTypes(t *testing.T) {
	ts := start(t, nil, errorRoutes)
	f := func(contentType string, status int) {
		t.Helper()
		if r := ts.send("POST", "/api/events", ts.keys.unlimited, "{}", "Content-Type: "+contentType); r.StatusCode != status {
			t.Errorf("%q: %d, want %d", contentType, r.StatusCode, status)
		}
	}
	f("application/json", 201)
	f("Application/JSON ; Charset=\"UTF-8\"", 201)
	f("application/json;charset=utf-8", 201)
	f("", 201)
	f("application/json; charset=latin1", 415)
	f("application/x-www-form-urlencoded", 415)
	f("multipart/form-data; boundary=x", 415)
	f("text/json", 415)
	f("application/jsonx", 415)
	if r := ts.send("POST", "/api/events", ts.keys.unlimited, "{}"); r.StatusCode != 201 {
		t.Errorf("no Content-Type: %d %s", r.StatusCode, r.body)
	}
}
