package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keypulse/internal/auth"
	"keypulse/internal/openapi/openapitest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a request of the API's reference. Its golden file holds the request and the answer as they stand on the wire,
// but with their JSON indented and what differs from run to run named in <angle brackets>.
type example struct {
	file    string // in testdata/reference, without its ending
	request string // method, path, headers, an empty line, the body; <api key> stands for the first API key
	fill    string // replaces <…> in the request, where its text would be too long to show
	shape   string // the members that the reference shows, in its order; further ones may only follow
}

// eventShape is how the reference shows an event.
const (
	eventShape = "id key_id event_type severity source_ip actor details created_at alerts_triggered"
	errorShape = "success message"
)

const (
	asUser = "Authorization: Bearer <api key>\n"
	asJSON = asUser + "Content-Type: application/json\n\n"
)

// The examples of what a tenant writes and reads, in the order in which they are run.
var examples = []example{
	{file: "post-event", shape: "success " + eventShape, request: "POST /api/events\n" + asJSON +
		`{"key_id": "my-signing-key-01", "event_type": "signing_request", "severity": "nominal",
 "source_ip": "10.0.0.1", "actor": "service-account@myapp.com"}`},
	{file: "post-event-required-only", shape: "success " + eventShape, request: "POST /api/events\n" + asJSON +
		`{"key_id": "my-signing-key-02", "event_type": "anything at all", "severity": "warning"}`},
	{file: "post-event-details", shape: "success " + eventShape, request: "POST /api/events\n" + asJSON +
		`{"key_id": "my-signing-key-01", "event_type": "export", "severity": "critical", "source_ip": "2001:DB8:0::7", "actor": "alice@myapp.com",
 "details": {"amount": 12500.50, "chain": "bitcoin", "approvals": ["alice", "bob"], "n": 1e2}}`},
	{file: "post-batch", shape: "success count events alerts_triggered", request: "POST /api/events/batch\n" + asJSON +
		`{"events": [
  {"key_id": "my-signing-key-03", "event_type": "key_access", "severity": "nominal"},
  {"key_id": "my-signing-key-01", "event_type": "rotation", "severity": "nominal", "details": {}},
  {"key_id": "my-signing-key-03", "event_type": "policy_change", "severity": "warning", "actor": null}
]}`},
	{file: "get-events", shape: "success events", request: "GET /api/events\n" + asUser},
	{file: "get-events-filtered", shape: "success events", request: "GET /api/events?key_id=my-signing-key-01&event_type=export&severity=critical&limit=500\n" + asUser},
	{file: "get-events-limit", shape: "success events", request: "GET /api/events?limit=1\n" + asUser},
	{file: "get-keys", shape: "success keys", request: "GET /api/keys\n" + asUser},
	{file: "get-stats", shape: "total_keys total_events events_24h severity_breakdown", request: "GET /api/stats\n"},
}

// The examples of failures.
var failures = []example{
	{file: "400-missing-field", request: "POST /api/events\n" + asJSON + `{"key_id": "my-signing-key-01", "severity": "nominal"}`},
	{file: "400-invalid-fields", request: "POST /api/events\n" + asJSON + `{"key_id": 7, "event_type": "export", "severity": "high", "source_ip": "10.0.0.256", "actor": "", "details": []}`},
	{file: "400-unknown-field", request: "POST /api/events\n" + asJSON + `{"key_id": "my-signing-key-01", "event_type": "export", "severity": "nominal", "source-ip": "10.0.0.1"}`},
	{file: "400-malformed-json", request: "POST /api/events\n" + asJSON + `{"key_id": "my-signing-key-01",`},
	{file: "400-batch", request: "POST /api/events/batch\n" + asJSON + `{"events": [
  {"key_id": "my-signing-key-01", "event_type": "export", "severity": "nominal"},
  {"key_id": "my-signing-key-01", "event_type": "export", "severity": "high"},
  {"event_type": "export", "severity": "nominal"}
]}`},
	{file: "400-batch-empty", request: "POST /api/events/batch\n" + asJSON + `{"events": []}`},
	{file: "400-batch-too-large", request: "POST /api/events/batch\n" + asJSON + `{"events": [<101 events>]}`, fill: strings.Repeat(`{"key_id":"k","event_type":"e","severity":"nominal"},`, 100) + `{"key_id":"k","event_type":"e","severity":"nominal"}`},
	{file: "400-limit", request: "GET /api/events?limit=501\n" + asUser},
	{file: "400-limit-zero", request: "GET /api/events?limit=0\n" + asUser},
	{file: "400-unknown-parameter", request: "GET /api/events?keyid=my-signing-key-01\n" + asUser},
	{file: "400-repeated-parameter", request: "GET /api/events?severity=nominal&severity=warning\n" + asUser},
	{file: "400-malformed-parameter", request: "GET /api/events?severity=high\n" + asUser},
	{file: "401-missing", request: "GET /api/events\n"},
	{file: "401-malformed", request: "GET /api/events\nAuthorization: Bearer kp_live_123\n"},
	{file: "401-unknown", request: "POST /api/events\nAuthorization: Bearer <a key that nobody made>\nContent-Type: application/json\n\n{}", fill: auth.NewKey(rand.Reader)},
	{file: "404", request: "GET /api/nothing\n" + asUser},
	{file: "405", request: "DELETE /api/events\n" + asUser},
	{file: "413", request: "POST /api/events\n" + asJSON + "<2097153 bytes>", fill: strings.Repeat(" ", 2<<20+1)},
	{file: "415", request: "POST /api/events\n" + asUser + "Content-Type: text/plain\n\nhello"},
	{file: "431", request: "GET /api/events\n" + asUser + "X-Filler: <20000 bytes>\n", fill: strings.Repeat("x", 20000)},
}

// TestReference runs every example of the API's reference against a new instance and compares what stands on the wire.
func TestReference(t *testing.T) {
	in := upAndReady(t)
	ref := &reference{instance: in, names: map[string]map[string]string{}, files: new([]string)}
	limited, _ := ref.newKey(t, "limited", 1)
	unlimited, _ := ref.newKey(t, "unlimited", 0)
	revoked, id := ref.newKey(t, "revoked", 100)
	output(t, in.settings, "apikey", "revoke", id)
	look := &instance{t: t, settings: in.settings, url: in.url}
	look.withoutLimit() // the last key that was made: when the node knows it, it knows the others

	for i, e := range examples {
		if e.file == "get-events" {
			awaitStored(t, look, 6)
		}
		e.file = fmt.Sprintf("%02d-%s", i+1, e.file)
		ref.run(t, e)
		for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; { // lists order events by the millisecond
			time.Sleep(100 * time.Microsecond)
		}
	}
	for _, e := range failures {
		e.shape = errorShape
		ref.run(t, e)
	}
	none := "GET /api/events?event_type=none\n" + asUser
	ref.withKey(revoked).run(t, example{file: "403", shape: errorShape, request: none})
	ref.withKey(limited).run(t, example{file: "limit-last-request", shape: "success events", request: none})
	ref.withKey(limited).run(t, example{file: "429", shape: errorShape, request: none})
	ref.withKey(unlimited).run(t, example{file: "limit-none", shape: "success events", request: none})
	rule := `{"id": "exports", "name": "Exports", "when": "event_type == \"export\"", "severity": "warning", "score": 40}`
	if r := look.call("POST", "/api/rules", rule); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	ref.run(t, example{file: "409", shape: errorShape, request: "POST /api/rules\n" + asJSON + rule})
	ref.checkFiles(t)
}

// awaitStored waits until the instance shows so many events in all places.
func awaitStored(t *testing.T, in *instance, events int) {
	t.Helper()
	in.verified() // one INSERT shows in one table after the other
	await(t, "the events in the list", 20*time.Second, func() error {
		if n := len(in.events("limit=500")); n != events {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	await(t, "the events in the statistics", 20*time.Second, func() error {
		stats := in.call("GET", "/api/stats", "").body
		if !bytes.Contains(stats, fmt.Appendf(nil, `"total_events":%d,`, events)) || bytes.Contains(stats, []byte(`"total_keys":0,`)) {
			return fmt.Errorf("%s", stats)
		}
		return nil
	})
}

// reference runs examples with one API key.
type reference struct {
	*instance
	names map[string]map[string]string // what a value that differs from run to run is called, by kind and value
	files *[]string                    // that were compared
}

func (ref *reference) withKey(key string) *reference {
	in := &instance{t: ref.t, settings: ref.settings, url: ref.url, apiKey: key}
	return &reference{instance: in, names: ref.names, files: ref.files}
}

// newKey makes an API key.
func (ref *reference) newKey(t *testing.T, name string, limit int) (key, id string) {
	t.Helper()
	var made struct {
		ID     string
		APIKey string `json:"api_key"`
	}
	out := output(t, ref.settings, "apikey", "create", "--tenant", "demo", "--name", name, "--rate-limit", fmt.Sprint(limit), "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return made.APIKey, made.ID
}

// run sends an example and compares it with its file.
func (ref *reference) run(t *testing.T, e example) {
	t.Helper()
	status, headers, body := ref.send(t, e)
	head, sent, _ := strings.Cut(e.request, "\n\n")
	line, rest, _ := strings.Cut(strings.TrimSuffix(head, "\n"), "\n")
	got := line + " HTTP/1.1\n" + rest
	if rest != "" {
		got += "\n"
	}
	if sent != "" {
		got += "\n" + sent + "\n"
	}
	got += "\n" + status + "\n" + strings.Join(headers, "\n") + "\n\n" + ref.anonymous(indented(t, body)) + "\n"
	ref.compare(t, e.file+".http", got)
	if have, want := names(t, body), strings.Fields(e.shape); len(have) < len(want) || !slices.Equal(have[:len(want)], want) {
		t.Errorf("%s: the members %q do not begin as the reference's: %q", e.file, have, want)
	}
	if strings.HasPrefix(e.request, "GET /api/stats") && len(names(t, body)) != 4 {
		t.Errorf("%s: the reference has exactly four members: %s", e.file, body)
	}
}

// send sends an example on a connection of its own and returns the answer's status line, the headers that the reference
// speaks of, in their spelling on the wire, and the body.
func (ref *reference) send(t *testing.T, e example) (status string, headers []string, body []byte) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(ref.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, ref.wire(e)); err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &wire)), nil)
	if err != nil {
		t.Fatalf("%s: %v", e.file, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("%s: %v", e.file, err)
	}
	if err := openapitest.Check(ref.exchange(e, resp, body)); err != nil {
		t.Errorf("%s: %v", e.file, err)
	}
	head, _, _ := strings.Cut(wire.String(), "\r\n\r\n")
	for i, line := range strings.Split(head, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		if i == 0 {
			status = line
		} else if slices.Contains(shown, name) {
			headers = append(headers, line)
		}
	}
	slices.Sort(headers)
	return status, headers, body
}

// exchange is an example with its answer.
func (ref *reference) exchange(e example, resp *http.Response, body []byte) *openapitest.Exchange {
	x := &openapitest.Exchange{Status: resp.StatusCode, AnswerHeader: resp.Header, Answer: body}
	if req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(ref.wire(e)))); err == nil {
		x.Method, x.Target, x.Header = req.Method, req.RequestURI, req.Header
		x.Body, _ = io.ReadAll(req.Body) // it lies in memory
	}
	return x
}

// shown are the headers of an answer that the reference speaks of.
var shown = []string{
	"Content-Type", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "Allow", "WWW-Authenticate", "Preference-Applied",
}

var placeholder = regexp.MustCompile(`<[^>]+>`)

// wire is an example's request as it is sent.
func (ref *reference) wire(e example) string {
	head, body, _ := strings.Cut(strings.ReplaceAll(e.request, "<api key>", ref.apiKey), "\n\n")
	line, headers, _ := strings.Cut(strings.TrimSuffix(head, "\n"), "\n")
	if e.fill != "" {
		headers, body = placeholder.ReplaceAllLiteralString(headers, e.fill), placeholder.ReplaceAllLiteralString(body, e.fill)
	}
	if headers != "" {
		headers = strings.ReplaceAll(headers, "\n", "\r\n") + "\r\n"
	}
	if body != "" {
		headers += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return line + " HTTP/1.1\r\nHost: keypulse\r\nConnection: close\r\n" + headers + "\r\n" + body
}

func indented(t *testing.T, body []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return b.String()
}

// volatile are the values that differ from run to run; the group is the value.
var volatile = []struct {
	kind    string
	pattern *regexp.Regexp
}{
	{"time", regexp.MustCompile(`"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"`)},
	{"request id", regexp.MustCompile(`"request_id": "([0-9a-f-]{36})"`)},
	{"event_id", regexp.MustCompile(`"event_id": "([0-9a-f-]{36})"`)},
	{"id", regexp.MustCompile(`"id": (\d+)`)},
	{"cursor", regexp.MustCompile(`"next_cursor": "([A-Za-z0-9_-]+)"`)},
}

// anonymous gives every volatile value a name by the order in which it first appears: the same value keeps its name from
// file to file. Times are only named <time>, for two may or may not be the same.
func (ref *reference) anonymous(text string) string {
	for _, v := range volatile {
		text = v.pattern.ReplaceAllStringFunc(text, func(match string) string {
			value := v.pattern.FindStringSubmatch(match)[1]
			return strings.Replace(match, value, ref.name(v.kind, value), 1)
		})
	}
	return text
}

func (ref *reference) name(kind, value string) string {
	if kind != "id" && kind != "event_id" {
		return "<" + kind + ">"
	}
	if ref.names[kind] == nil {
		ref.names[kind] = map[string]string{}
	}
	if ref.names[kind][value] == "" {
		ref.names[kind][value] = fmt.Sprintf("<%s %d>", kind, len(ref.names[kind])+1)
	}
	return ref.names[kind][value]
}

// names are the names of a JSON object's members, in order.
func names(t *testing.T, body []byte) (names []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		names = append(names, fmt.Sprint(name))
	}
	return names
}

const referenceDir = "testdata/reference"

// compare compares with a golden file, or rewrites it.
func (ref *reference) compare(t *testing.T, file, got string) {
	t.Helper()
	*ref.files = append(*ref.files, file)
	path := filepath.Join(referenceDir, file)
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

// checkFiles finds golden files that no example has.
func (ref *reference) checkFiles(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(*ref.files, f.Name()) {
			t.Errorf("no example has the file %s", f.Name())
		}
	}
}
