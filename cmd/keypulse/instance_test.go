package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keypulse/internal/engine"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/openapi/openapitest"
	"keypulse/rules/rulestest"
	"keypulse/schema"
)

// asMain makes the test binary the keypulse command, so that tests run real processes that they can kill.
const asMain = "KEYPULSE_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	engine.ChildMain()
	rulestest.Break("broken-by-a-test", func(e *schema.Event) bool { return e.Type == "export" })
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	enginetest.Main(m)
}

// keypulse is a command line of the keypulse command with settings from the environment.
func keypulse(settings []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asMain+"=1"), settings...)
	return cmd
}

// output runs a keypulse command and returns what it printed.
func output(t *testing.T, settings []string, args ...string) string {
	t.Helper()
	cmd := keypulse(settings, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("keypulse %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// given are the ports that freeAddress has given in this process.
var given sync.Map

// freeAddress is an address of this machine that nobody listens on. Its port is below those that the system gives to
// connections and to listeners that name none: one of them could take it before it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// instance is a `keypulse up` with a data folder of its own.
type instance struct {
	t        *testing.T
	settings []string
	url      string
	apiKey   string       // of tenant demo
	client   *http.Client // default: one that checks every answer against the document

	cmd    *exec.Cmd
	exited chan error

	mu  sync.Mutex
	out bytes.Buffer // guards the following: what the process has printed
}

// newInstance makes an instance that does not run yet.
func newInstance(t *testing.T) *instance {
	t.Helper()
	listen := freeAddress(t)
	return &instance{t: t, url: "http://" + listen, settings: []string{
		"KEYPULSE_DATA=" + filepath.Join(t.TempDir(), "data"),
		"KEYPULSE_LISTEN=" + listen,
		"KEYPULSE_KAFKA_LISTEN=" + freeAddress(t),
		"KEYPULSE_CLICKHOUSE_NATIVE_LISTEN=" + freeAddress(t),
		"KEYPULSE_CLICKHOUSE_HTTP_LISTEN=" + freeAddress(t),
		"KEYPULSE_LOG_LEVEL=warn",
		"KEYPULSE_ADMIN_LISTEN=" + freeAddress(t),
	}}
}

// upAndReady starts a new instance and waits until it is ready.
func upAndReady(t *testing.T) *instance {
	t.Helper()
	in := newInstance(t)
	in.start()
	in.ready()
	return in
}

var keyPattern = regexp.MustCompile(`kp_live_[0-9A-Za-z]{40}`)

// Write collects what the process prints.
func (in *instance) Write(b []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.out.Write(b)
}

func (in *instance) printed() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.out.String()
}

// start runs the process.
func (in *instance) start() {
	in.t.Helper()
	in.cmd = keypulse(in.settings, "up")
	in.cmd.Stdout, in.cmd.Stderr = in, in
	if err := in.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	exited := make(chan error, 1)
	in.exited = exited
	cmd := in.cmd
	go func() {
		exited <- cmd.Wait()
		close(exited) // so that everyone who waits learns that it has ended
	}()
	in.t.Cleanup(func() { in.kill() })
}

// kill ends the process with SIGKILL, if it still runs.
func (in *instance) kill() {
	if in.exited == nil {
		return
	}
	_ = in.cmd.Process.Kill() // it may have ended by itself
	<-in.exited
	in.exited = nil
}

// terminate asks the process to end and returns its exit code.
func (in *instance) terminate() int {
	in.t.Helper()
	if err := in.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		in.t.Fatal(err)
	}
	select {
	case <-in.exited:
		in.exited = nil
	case <-time.After(15 * time.Second):
		in.t.Fatalf("the process still runs 15 s after SIGTERM:\n%s", in.printed())
	}
	return in.cmd.ProcessState.ExitCode()
}

// verified waits until everything that is in the log is in every table, and only there once.
func (in *instance) verified() {
	in.t.Helper()
	output(in.t, in.settings, "verify", "--wait", "60s")
}

// await calls f until it returns nil.
func await(t *testing.T, what string, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// ready waits until the process says that all of it is ready, and learns the first API key when it prints one.
func (in *instance) ready() {
	in.t.Helper()
	await(in.t, "ready", 2*time.Minute, func() error {
		select {
		case err := <-in.exited:
			in.t.Fatalf("the process ended: %v\n%s", err, in.printed())
		default:
		}
		r, err := openapitest.Client(in.t).Get(in.url + "/readyz")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s", body)
		}
		return err
	})
	if in.apiKey == "" {
		await(in.t, "the first API key", 20*time.Second, func() error {
			in.apiKey = keyPattern.FindString(in.printed())
			if in.apiKey == "" {
				return fmt.Errorf("printed only %q", in.printed())
			}
			return nil
		})
	}
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// into reads the body's JSON.
func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// call sends a request with the instance's API key.
func (in *instance) call(method, path, body string) reply {
	in.t.Helper()
	r, err := in.try(method, path, body)
	if err != nil {
		in.t.Fatal(err)
	}
	return r
}

func (in *instance) try(method, path, body string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, in.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+in.apiKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := in.client
	if client == nil {
		client = openapitest.Client(in.t)
	}
	r, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return reply{r.StatusCode, r.Header, b}, err
}

// event is an event as the API answers it.
type event struct {
	ID              int64
	KeyID           string `json:"key_id"`
	EventType       string `json:"event_type"`
	AlertsTriggered int    `json:"alerts_triggered"`
	Evaluated       bool
}

// post sends an event and returns the answer, which must be 201.
func (in *instance) post(keyID, eventType string) event {
	in.t.Helper()
	r := in.call("POST", "/api/events", fmt.Sprintf(`{"key_id":%q,"event_type":%q,"severity":"nominal"}`, keyID, eventType))
	if r.status != http.StatusCreated {
		in.t.Fatalf("POST answered %d: %s", r.status, r.body)
	}
	var e event
	r.into(in.t, &e)
	return e
}

// events lists events by a query string.
func (in *instance) events(query string) []event {
	in.t.Helper()
	r := in.call("GET", "/api/events?"+query, "")
	if r.status != http.StatusOK {
		in.t.Fatalf("GET /api/events?%s answered %d: %s", query, r.status, r.body)
	}
	var list struct{ Events []event }
	r.into(in.t, &list)
	return list.Events
}
