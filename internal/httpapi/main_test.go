package httpapi

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"keypulse/internal/auth"
	"keypulse/internal/openapi/openapitest"
	"keypulse/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: the clock and the compressors of a process, and a pool's cleaner, which looks every 10 s whether
		// its server has stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp/stackless.funcWorker"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

var noon = time.Date(2026, 4, 5, 12, 0, 0, 0, time.UTC)

// apiKeys are the keys that every test server knows.
type apiKeys struct{ full, limited, unlimited, readOnly, revoked, expired, unknown string }

// testServer is a server on a real socket.
type testServer struct {
	*testing.T
	*Server
	addr string
	keys apiKeys
	logs *observer.ObservedLogs
	now  func() time.Time
}

// start serves routes on a socket until the test ends. edit may change the configuration.
func start(t *testing.T, edit func(*Config), routes func(*fiber.App)) *testServer {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	ts := &testServer{T: t, logs: logs, now: func() time.Time { return noon }}
	table := ts.fillTable()
	cfg := Config{
		Log:         zap.New(core),
		AccessLevel: zapcore.DebugLevel,
		Auth:        Authenticate(table, auth.NewLimiter().Take, func() time.Time { return ts.now() }),
		Public:      []string{"/api/stats"},

		OverloadHold: time.Millisecond,
	}
	if edit != nil {
		edit(&cfg)
	}
	ts.Server = New(cfg)
	if routes != nil {
		routes(ts.App())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- ts.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := ts.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ts
}

func (ts *testServer) fillTable() *auth.Table {
	secret := auth.NewSecret()
	table := auth.NewTable(secret)
	add := func(id string, edit func(*schema.APIKeyRecord)) string {
		key := auth.NewKey(rand.Reader)
		r := schema.APIKeyRecord{
			ID: id, Version: 1, Tenant: "acme", Name: id, HMAC: secret.Digest(key).String(), RateLimit: 100,
			Scopes: auth.DefaultScopes(), Status: schema.APIKeyActive,
		}
		edit(&r)
		value, err := json.Marshal(r)
		if err == nil {
			err = table.Apply(table.Rev(), []byte(id), value)
		}
		if err != nil {
			ts.Fatal(err)
		}
		return key
	}
	ts.keys = apiKeys{
		full:      add("ak_full", func(*schema.APIKeyRecord) {}),
		limited:   add("ak_limited", func(r *schema.APIKeyRecord) { r.RateLimit = 2 }),
		unlimited: add("ak_unlimited", func(r *schema.APIKeyRecord) { r.RateLimit = 0 }),
		readOnly:  add("ak_read", func(r *schema.APIKeyRecord) { r.Scopes = []string{auth.ScopeRead} }),
		revoked:   add("ak_revoked", func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyRevoked }),
		expired:   add("ak_expired", func(r *schema.APIKeyRecord) { r.ExpiresAt = schema.MillisOf(noon) }),
		unknown:   auth.NewKey(rand.Reader),
	}
	return table
}

// response is an answer as it stood on the wire.
type response struct {
	*http.Response
	body  string
	names map[string]bool // the headers' names in their own spelling
}

// raw sends bytes on a connection of their own and reads one answer.
func (ts *testServer) raw(request string) response {
	ts.Helper()
	c := ts.dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		ts.Fatalf("send: %v", err)
	}
	return ts.read(c, strings.HasPrefix(request, "HEAD"))
}

func (ts *testServer) dial() *net.TCPConn {
	ts.Helper()
	c, err := net.Dial("tcp", ts.addr)
	if err != nil {
		ts.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// read reads one answer and checks what holds for all of them.
func (ts *testServer) read(c net.Conn, head bool) response {
	ts.Helper()
	var wire strings.Builder
	req := &http.Request{Method: http.MethodGet}
	if head {
		req.Method = http.MethodHead
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &wire)), req)
	if err != nil {
		ts.Fatalf("read answer: %v, after %q", err, wire.String())
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		ts.Fatalf("read body: %v", err)
	}
	r := response{Response: resp, body: string(body), names: make(map[string]bool)}
	header, _, _ := strings.Cut(wire.String(), "\r\n\r\n")
	for _, line := range strings.Split(header, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		r.names[name] = true
	}
	ts.checkEvery(r, head)
	return r
}

// checkEvery checks the promises about every answer.
func (ts *testServer) checkEvery(r response, head bool) {
	ts.Helper()
	if r.Header.Get("X-Request-Id") == "" {
		ts.Errorf("%d without X-Request-Id", r.StatusCode)
	}
	if r.Header.Get("Server") != "" {
		ts.Errorf("banner %q", r.Header.Get("Server"))
	}
	method := http.MethodGet
	if head {
		method = http.MethodHead
	}
	if err := openapitest.CheckFailure(&openapitest.Exchange{Method: method, Status: r.StatusCode, AnswerHeader: r.Header, Answer: []byte(r.body)}); err != nil {
		ts.Error(err)
	}
}

// get asks for a path with an API key, "" for none.
func (ts *testServer) get(path, key string) response {
	ts.Helper()
	return ts.send("GET", path, key, "")
}

// send sends a request; headers are whole lines without their ends.
func (ts *testServer) send(method, path, key, body string, headers ...string) response {
	ts.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", method, path)
	if key != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", key)
	}
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return ts.raw(b.String())
}

func (ts *testServer) want(r response, status int, code string) {
	ts.Helper()
	if r.StatusCode != status || !strings.Contains(r.body, `"code":"`+code+`"`) {
		ts.Errorf("%d %s, want %d %s", r.StatusCode, r.body, status, code)
	}
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update rewrites it):\n%s", path, got)
	}
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for: %s", what)
		}
	}
}
