package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"keypulse/internal/openapi/openapitest"
)

// fuzzed is an instance under requests made from the document.
type fuzzed struct {
	*testing.T
	in    *instance
	admin string // the admin API's address
	key   string // with all scopes, of a tenant of its own
	keyID string
	conns map[string]net.Conn // kept open, by address

	answered map[string]map[int]int // how often, by operation and status, what was sent with its own method
	failed   int
}

// TestFuzzFromDocument sends requests that the document describes, that it nearly describes, and that only an enemy sends.
// Whatever comes: no 500, no status, header, member or value that the document does not state, no success of what it calls invalid; the
// process lives, and its memory stays bounded.
func TestFuzzFromDocument(t *testing.T) {
	seed, count := uint64(1), 1_500
	if os.Getenv("KEYPULSE_SOAK") != "" {
		seed, count = rand.Uint64(), 200_000
	}
	t.Logf("seed %d", seed)
	f := newFuzzed(t)
	fuzzer := openapitest.NewFuzzer(seed, "/signup") // which needs mail, and is off
	f.seed(fuzzer)
	var before int64
	for turn := range count {
		r := fuzzer.Next(turn)
		x, err := f.send(r, turn)
		if err != nil {
			f.fail("%s %.200q: no answer: %v\n%.500q", r.Method, r.Target, err, r.Body)
			continue
		}
		f.judge(r, x)
		fuzzer.Learn(r, x.Status, x.Answer, f.keyID)
		if turn == count/2 {
			before = f.in.resident()
		}
	}
	f.in.ready()
	var never []string
	all := fuzzer.Operations()
	for _, op := range all {
		if got := f.answered[op.ID]; got[200]+got[201]+got[202]+got[204] == 0 {
			never = append(never, fmt.Sprint(op.ID, got))
		}
	}
	t.Logf("%d of %d operations never succeed", len(never), len(all))
	if len(never) > len(all)/10 {
		t.Errorf("operations that never succeed, with their answers: %v: the fuzzer does not reach what is behind them", never)
	}
	const most = 192 << 20
	if grown := f.in.resident() - before; grown > most {
		t.Errorf("the process has grown by %d MiB in the second half", grown>>20)
	}
}

func newFuzzed(t *testing.T) *fuzzed {
	f := &fuzzed{T: t, in: newInstance(t), conns: map[string]net.Conn{}, answered: map[string]map[int]int{}}
	f.in.settings = append(f.in.settings, "KEYPULSE_WEBHOOK_NETWORKS=127.0.0.0/8")
	f.in.start()
	f.in.ready()
	var made struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	text := output(t, f.in.settings, "apikey", "create", "--tenant", "fuzz", "--name", "fuzz", "--rate-limit", "0", "--scopes", "ingest,read,rules,admin", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	f.key, f.keyID = made.APIKey, made.ID
	for _, setting := range f.in.settings {
		if address, ok := strings.CutPrefix(setting, "KEYPULSE_ADMIN_LISTEN="); ok {
			f.admin = address
		}
	}
	t.Cleanup(func() {
		for _, c := range f.conns {
			c.Close()
		}
	})
	f.in.apiKey = f.key
	await(t, "the API key", 20*time.Second, func() error {
		if r := f.in.call("GET", "/api/rules", ""); r.status != http.StatusOK {
			return fmt.Errorf("%d", r.status)
		}
		return nil
	})
	return f
}

// seed makes something that requests can be about.
func (f *fuzzed) seed(fuzzer *openapitest.Fuzzer) {
	about := func(path string, r reply) {
		for _, op := range openapitest.Load().Operations {
			if op.Path == path {
				fuzzer.Learn(&openapitest.Request{Operation: op}, r.status, r.body, f.keyID)
				return
			}
		}
	}
	about("/api/rules", f.in.call("POST", "/api/rules", `{"id":"every-event","name":"Every event","severity":"critical","when":"true","dedup":0}`))
	await(f.T, "an alert", 20*time.Second, func() error {
		about("/api/events", f.in.call("POST", "/api/events", `{"key_id":"treasury","event_type":"export","severity":"warning","event_id":"one"}`))
		r := f.in.call("GET", "/api/alerts?limit=5", "")
		if about("/api/alerts", r); !bytes.Contains(r.body, []byte(`"id"`)) {
			return errors.New("there is none")
		}
		return nil
	})
	about("/api/events", f.in.call("GET", "/api/events?limit=1", ""))
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	about("/api/silences", f.in.call("POST", "/api/silences", `{"reason":"a test","until":"`+until+`"}`))
	about("/api/webhooks", f.in.call("POST", "/api/webhooks", `{"name":"nobody","type":"webhook","url":"http://127.0.0.1:9/"}`))
}

// send sends a request on a connection that is kept, and reads the answer.
func (f *fuzzed) send(r *openapitest.Request, turn int) (*openapitest.Exchange, error) {
	address := strings.TrimPrefix(f.in.url, "http://")
	if strings.HasPrefix(r.Target, "/api/admin/") {
		address = f.admin
	}
	f.credentials(r, turn)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Target, address)
	for name, values := range r.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, values[0])
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.Body), r.Body)
	for {
		c, kept := f.conns[address]
		if !kept {
			var err error
			if c, err = net.Dial("tcp", address); err != nil {
				return nil, err
			}
			f.conns[address] = c
		}
		x, ends, err := f.exchange(c, r, b.Bytes())
		if err != nil || ends {
			c.Close()
			delete(f.conns, address)
		}
		if err != nil && kept {
			continue // the server had closed it
		}
		return x, err
	}
}

// credentials let the request in, but now and then.
func (f *fuzzed) credentials(r *openapitest.Request, turn int) {
	switch {
	case turn%17 == 0:
	case turn%19 == 0:
		r.Header.Set("Authorization", []string{"Bearer", "Basic x", "Bearer kp_live_", "Bearer " + f.key + "x", "bearer  " + f.key}[turn/19%5])
	case strings.HasPrefix(r.Operation.Path, "/api/session/"):
		r.Header.Set("Cookie", "keypulse_session="+f.key)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	case r.Operation.ID == "signIn":
		r.Body = bytes.ReplaceAll(r.Body, []byte("kp_live_0123456789012345678901234567890123456789"), []byte(f.key))
	default:
		r.Header.Set("Authorization", "Bearer "+f.key)
	}
	if r.Operation.ID == "signOut" && turn/100%2 == 0 {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

// exchange writes a request and reads its answer. ends says that the connection is of no further use.
func (f *fuzzed) exchange(c net.Conn, r *openapitest.Request, request []byte) (x *openapitest.Exchange, ends bool, err error) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(request)
		written <- err
	}()
	defer func() { <-written }()
	in := bufio.NewReader(c)
	var resp *http.Response
	for resp == nil || resp.StatusCode == http.StatusContinue {
		if resp, err = http.ReadResponse(in, &http.Request{Method: r.Method}); err != nil {
			return nil, true, err
		}
	}
	x = &openapitest.Exchange{
		Method: r.Method, Target: r.Target, Header: r.Header, Body: r.Body, Status: resp.StatusCode, AnswerHeader: resp.Header,
	}
	if x.Partial = resp.Header.Get("Content-Type") == "text/event-stream"; x.Partial {
		return x, true, nil // it has no end, so that closing its body would wait for ever
	}
	defer resp.Body.Close()
	if x.Answer, err = io.ReadAll(resp.Body); err != nil {
		return nil, true, fmt.Errorf("%d: %w", resp.StatusCode, err)
	}
	return x, resp.Close || in.Buffered() > 0, nil
}

// judge holds an answer to the document.
func (f *fuzzed) judge(r *openapitest.Request, x *openapitest.Exchange) {
	if r.Method == r.Operation.Method {
		got := f.answered[r.Operation.ID]
		if got == nil {
			got = map[int]int{}
			f.answered[r.Operation.ID] = got
		}
		got[x.Status]++
	}
	if err := openapitest.Check(x); err != nil {
		f.fail("%v", err)
	}
	if x.Status == http.StatusInternalServerError || bytes.Contains(x.Answer, []byte("BUG")) {
		f.fail("%s %.300q %v %.1000q: %d %s", r.Method, r.Target, r.Header, r.Body, x.Status, x.Answer)
	}
}

// fail counts, and ends the test when it is clear.
func (f *fuzzed) fail(format string, args ...any) {
	f.Helper()
	f.Errorf(format, args...)
	if f.failed++; f.failed >= 15 {
		f.Fatalf("%d failures are enough; answers: %v", f.failed, f.answered)
	}
}
