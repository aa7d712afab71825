package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/ingest"
	"keypulse/internal/admin"
	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/internal/openapi/openapitest"
	"keypulse/internal/signup"
	"keypulse/notify"
	"keypulse/query"
	"keypulse/rules"
	"keypulse/schema"
	"keypulse/stream"
)

// router is the API's server with the routes of all roles and nothing behind them: what is asked of it must be refused before a
// handler needs the log or the database.
type router struct {
	*testing.T
	*httpapi.Server
	url       string
	keys      map[string]string // by scope; "" has none
	everyone  string            // a key with all scopes
	candidate []string          // every word that might be a parameter's name
}

// newRouter serves the routes until the test ends. What registers routes in node.go does so here.
func newRouter(t *testing.T) *router {
	t.Helper()
	secret := auth.NewSecret()
	table := auth.NewTable(secret)
	r := &router{T: t, keys: map[string]string{}, candidate: words(t, "../../query", "../../ingest", "../../internal/httpapi", "../../internal/admin")}
	key := func(scopes ...string) string {
		k := auth.NewKey(rand.Reader)
		id := fmt.Sprint("key-", table.Rev())
		rec, err := json.Marshal(schema.APIKeyRecord{ID: id, Version: 1, Tenant: "demo", HMAC: secret.Digest(k).String(), Scopes: scopes, Status: schema.APIKeyActive})
		if err == nil {
			err = table.Apply(table.Rev(), []byte(id), rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	r.keys[""], r.everyone = key(), key(auth.Scopes[:]...)
	for _, scope := range auth.Scopes {
		r.keys[scope] = key(scope)
	}

	r.Server = httpapi.New(httpapi.Config{Auth: httpapi.Authenticate(table, auth.NewLimiter().Take, time.Now), Public: []string{query.StatsPath}, Sessions: true})
	in := ingest.New(ingest.Config{
		Incarnation: schema.LogRecord{Partitions: 1, Base: 1}, RulesRev: func() int64 { return 0 }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	in.Register(r.App())
	q := query.New(query.Config{
		Book:          bookWith(t, "export-burst"),
		Notifications: &query.Notifications{Webhooks: notify.NewWebhooks(), Silences: notify.NewSilences(), View: notify.NewView(nil), Secret: secret},
		Stream:        stream.New(stream.Config{Incarnation: schema.LogRecord{Partitions: 1, Base: 1}, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}),
	})
	q.Register(r.App())
	owners := admin.New(admin.Config{Keys: table, Secret: secret, Log: zap.NewNop()})
	owners.Register(r.App())
	owners.RegisterSessions(r.App())

	signup.New(signup.Config{Secret: secret, Keys: table, Log: zap.NewNop()}, signup.NewBook()).Register(r.App())

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

// bookWith is a book with one rule.
func bookWith(t *testing.T, id string) *rules.Book {
	t.Helper()
	book := rules.NewBook()
	rec, err := rules.Record("demo", rules.Rule{ID: id, Name: "r", When: "true", Severity: schema.Warning, Enabled: true, Mode: rules.Live}, 1, "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(rec)
	if err == nil {
		err = book.Apply(0, schema.RecordKey("demo", id), value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// failure is what the tests look at of a failure.
type failure struct {
	status int
	header http.Header
	Errors []struct{ Field, Message string }
}

// ask sends a request without a body and wants a failure that agrees with the document.
func (r *router) ask(method, target, key string) failure {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+target, nil)
	if err != nil {
		r.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := openapitest.Client(r).Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	f := failure{status: resp.StatusCode, header: resp.Header}
	if err == nil && resp.StatusCode >= http.StatusBadRequest && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		err = json.Unmarshal(body, &f)
	}
	if err != nil {
		r.Fatalf("%s %s: %v", method, target, err)
	}
	return f
}

// TestOpenAPIRoutes wants every route in the document, and every operation of the document in the router.
func TestOpenAPIRoutes(t *testing.T) {
	r := newRouter(t)
	var stated []string
	for _, op := range openapitest.Load().Operations {
		stated = append(stated, op.Method+" "+op.Path)
	}
	param := regexp.MustCompile(`:(\w+)(<[^>]*>)?`)
	var routed []string
	for _, route := range r.App().GetRoutes(true) {
		path := param.ReplaceAllString(route.Path, "{$1}")
		if route.Method == http.MethodHead && slices.Contains(stated, "GET "+path) {
			continue // every GET takes HEAD
		}
		routed = append(routed, route.Method+" "+path)
		if !slices.Contains(stated, route.Method+" "+path) {
			t.Errorf("the router has %s %s and the document does not: add it to paths in internal/openapi/openapi.yaml", route.Method, path)
		}
	}
	for _, op := range stated {
		if !slices.Contains(routed, op) {
			t.Errorf("the document has %s and the router does not: register it, or take it out of internal/openapi/openapi.yaml", op)
		}
	}
}

// TestOpenAPIScopes asks each operation without a key, with a key that may do nothing, and with keys of one scope each: only that
// of the document opens it.
func TestOpenAPIScopes(t *testing.T) {
	r := newRouter(t)
	for _, op := range openapitest.Load().Operations {
		where := op.Method + " " + op.Path
		target := op.Target() + "?zz=1" // so that what is let in is refused by the handler
		if op.AnyKey {
			if f := r.ask(op.Method, target, ""); f.status != http.StatusUnauthorized {
				t.Errorf("%s answers %d without an API key; the document says that it needs one", where, f.status)
			}
			if f := r.ask(op.Method, target, r.keys[""]); f.status != http.StatusBadRequest {
				t.Errorf("%s answers %d to a key without scopes; the document says that any will do", where, f.status)
			}
			continue
		}
		if op.Scope == "" {
			if f := r.ask(op.Method, target, ""); f.status == http.StatusUnauthorized {
				t.Errorf("%s wants an API key; the document says that it is public: name the scope in its security", where)
			}
			continue
		}
		if f := r.ask(op.Method, target, ""); f.status != http.StatusUnauthorized {
			t.Errorf("%s answers %d without an API key; the document says that it needs the scope %s", where, f.status, op.Scope)
		}
		want := fmt.Sprintf("scope=%q", op.Scope)
		if f := r.ask(op.Method, target, r.keys[""]); f.status != http.StatusForbidden || !strings.Contains(f.header.Get("WWW-Authenticate"), want) {
			t.Errorf("%s answers %d %s to a key without scopes, want 403 with %s: its security in the document and httpapi.Require differ",
				where, f.status, f.header.Get("WWW-Authenticate"), want)
		}
		for _, scope := range auth.Scopes {
			if f := r.ask(op.Method, target, r.keys[scope]); (f.status == http.StatusForbidden) != (scope != op.Scope) {
				t.Errorf("%s answers %d to a key with the scope %s, and needs %s", where, f.status, scope, op.Scope)
			}
		}
	}
}

// TestOpenAPIParameters finds out which parameters each operation takes: it sends every word of the sources as one, and the
// answer names those that are unknown. The others must be those of the document.
func TestOpenAPIParameters(t *testing.T) {
	r := newRouter(t)
	for _, op := range openapitest.Load().Operations {
		if op.Scope == "" && op.Path != query.StatsPath && op.Path != httpapi.SessionPath {
			continue // health, metrics and documents take whatever a prober appends
		}
		var taken []string
		for words := range slices.Chunk(append(r.candidate, op.Query()...), 200) {
			taken = append(taken, r.taken(op, words)...)
		}
		slices.Sort(taken)
		taken = slices.Compact(taken)
		stated := slices.Sorted(slices.Values(op.Query()))
		if !slices.Equal(taken, stated) {
			t.Errorf("%s %s takes the parameters %q, the document states %q: make its parameters in internal/openapi/openapi.yaml the same", op.Method, op.Path, taken, stated)
		}
	}
}

// taken are those of the words that the operation takes as parameters.
func (r *router) taken(op *openapitest.Operation, words []string) []string {
	r.Helper()
	q := url.Values{"zz": {"1"}} // at least one is unknown
	for _, word := range words {
		q.Set(probe(word), "")
	}
	f := r.ask(op.Method, op.Target()+"?"+q.Encode(), r.everyone)
	unknown := map[string]bool{}
	for _, e := range f.Errors {
		unknown[e.Field] = strings.HasPrefix(e.Message, "unknown parameter")
	}
	if !unknown["zz"] {
		r.Errorf("%s %s answers %d to an unknown parameter, want 400: call httpapi.Params or httpapi.NoParams", op.Method, op.Path, f.status)
		return op.Query()
	}
	return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return unknown[probe(word)] })
}

// probe is a parameter's name for a word; one that ends with a dot is a beginning of names.
func probe(word string) string {
	if strings.HasSuffix(word, ".") {
		return word + "x"
	}
	return word
}

// words are the string literals in the Go files of folders that may be names of parameters.
func words(t *testing.T, folders ...string) []string {
	t.Helper()
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*\.?$`)
	var all []string
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if word, err := strconv.Unquote(lit.Value); err == nil && name.MatchString(word) {
						all = append(all, word)
					}
				}
				return true
			})
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestOpenAPIOfEveryNode makes sure that newRouter registers what node.go does.
func TestOpenAPIOfEveryNode(t *testing.T) {
	registered := func(file string) (calls []string) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(call.Sel.Name, "Register") {
				calls = append(calls, call.Sel.Name)
			}
			return true
		})
		return calls
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			all = append(all, registered(file)...)
		}
	}
	if here := registered("openapi_test.go"); len(here) != len(all) {
		t.Errorf("newRouter registers %d parts with routes, the command %d: register the new one in newRouter, too", len(here), len(all))
	}
}
