package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receiver is an endpoint that checks every signature with the specification's own library.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu sync.Mutex // guards the following
	// secret is the endpoint's: what is not signed with it fails the test.
	secret string
	all    []message
	answer func(m message) (status int, header http.Header)
}

// message is what a receiver has got.
type message struct {
	id        string
	signature string
	at        time.Time
	Type      string
	Timestamp string
	Delayed   bool
	Data      struct {
		Alert struct {
			ID       string
			RuleID   string `json:"rule_id"`
			KeyID    string `json:"key_id"`
			RaisedAt string `json:"raised_at"`
		}
		Count    int
		AlertIDs []string `json:"alert_ids"`
		Unlisted int
	}
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	hook, err := standardwebhooks.NewWebhook(r.secret)
	if err == nil {
		err = hook.Verify(body, req.Header)
	}
	m := message{id: req.Header.Get("webhook-id"), signature: req.Header.Get("webhook-signature"), at: time.Now()}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		r.t.Errorf("a message that cannot be verified: %v: %s %v", err, body, req.Header)
	}
	if m.Data.Alert.KeyID == warmUp { // raised just before the webhook was made
		return
	}
	status, header := http.StatusNoContent, http.Header(nil)
	if r.answer != nil {
		status, header = r.answer(m)
	}
	r.all = append(r.all, m)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
}

func (r *receiver) got() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.all...)
}

// await waits until the messages are as f wants them.
func (r *receiver) await(what string, f func(all []message) error) []message {
	r.t.Helper()
	await(r.t, what, 60*time.Second, func() error { return f(r.got()) })
	return r.got()
}

// webhook is a webhook as the API shows it.
type webhook struct {
	ID             string
	Version        int64
	URL            *string
	Secret         string
	Enabled        bool
	DisabledReason *string `json:"disabled_reason"`
}

// warmUp is the key of the events that find out whether the rule is in force.
const warmUp = "warm-up"

// newNotifying starts an instance that may send to this machine, with a rule that raises an alert for each export.
func newNotifying(t *testing.T, settings ...string) *instance {
	t.Helper()
	in := newInstance(t)
	in.settings = append(append(in.settings, "KEYPULSE_WEBHOOK_NETWORKS=127.0.0.0/8"), settings...)
	in.start()
	in.ready()
	in.withoutLimit()
	in.want("POST", "/api/rules", `{"id":"export","name":"An export","severity":"critical","dedup":"0s","when":"event_type == \"export\""}`, 201, nil)
	await(t, "the rule in force", 20*time.Second, func() error {
		if e := in.post(warmUp, "export"); e.AlertsTriggered == 0 {
			return fmt.Errorf("event %d raised none", e.ID)
		}
		return nil
	})
	return in
}

// want sends a request that must be answered so, and reads the answer.
func (in *instance) want(method, path, body string, status int, into any) {
	in.t.Helper()
	r := in.call(method, path, body)
	if r.status != status {
		in.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
	}
	if into != nil {
		r.into(in.t, into)
	}
}

// hook makes a webhook to a receiver.
func (in *instance) hook(r *receiver, more string) webhook {
	in.t.Helper()
	var w webhook
	in.want("POST", "/api/webhooks", fmt.Sprintf(`{"name":"test","url":%q%s}`, r.URL+"/alerts?token=1", more), 201, &w)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = w.Secret
	return w
}

// delivery is a delivery as the API shows it.
type delivery struct {
	ID           string
	Type         string
	State        string
	Alerts       int
	Reason       *string
	AttemptCount int `json:"attempt_count"`
	Attempts     []struct {
		Status *int
		Error  *string
	}
}

func (in *instance) deliveries(w webhook) []delivery {
	in.t.Helper()
	var list struct{ Deliveries []delivery }
	in.want("GET", "/api/webhooks/"+w.ID+"/deliveries?limit=500", "", 200, &list)
	return list.Deliveries
}

func TestWebhooks(t *testing.T) {
	in := newNotifying(t)
	r := newReceiver(t)
	w := in.hook(r, "")
	if !strings.HasPrefix(w.Secret, "whsec_") || *w.URL != r.URL+"/alerts" {
		t.Errorf("made %+v, %s", w, *w.URL)
	}
	if got := in.call("GET", "/api/webhooks/"+w.ID, ""); strings.Contains(string(got.body), "whsec_") || strings.Contains(string(got.body), "token") {
		t.Errorf("shows what is secret: %s", got.body)
	}

	in.post("key-1", "export")
	first := r.await("an alert", func(all []message) error { return atLeast(all, 1) })[0]
	if first.Type != "alert.raised" || first.Data.Alert.RuleID != "export" || first.Data.Alert.KeyID != "key-1" || first.Delayed || first.Timestamp != first.Data.Alert.RaisedAt {
		t.Errorf("got %+v", first)
	}
	await(t, "the alert in the API", 20*time.Second, func() error { // it is stored within half a second
		if r := in.call("GET", "/api/alerts/"+first.Data.Alert.ID, ""); r.status != http.StatusOK {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})

	t.Run("test", func(*testing.T) {
		var made struct {
			DeliveryID string `json:"delivery_id"`
		}
		in.want("POST", "/api/webhooks/"+w.ID+"/test", "", 202, &made)
		r.await("the test", func(all []message) error {
			if last := all[len(all)-1]; last.id != made.DeliveryID || last.Type != "webhook.test" {
				return fmt.Errorf("got %+v", last)
			}
			return nil
		})
	})
	t.Run("resend", func(t *testing.T) {
		in.want("POST", "/api/webhooks/"+w.ID+"/deliveries/"+first.id+"/resend", "", 202, nil)
		r.await("the same again", func(all []message) error {
			if last := all[len(all)-1]; last.id != first.id || last.Data.Alert != first.Data.Alert {
				return fmt.Errorf("got %+v", last)
			}
			return nil
		})
		await(t, "two attempts", 20*time.Second, func() error {
			for _, d := range in.deliveries(w) {
				if d.ID == first.id && d.State == "delivered" && d.AttemptCount == 2 {
					return nil
				}
			}
			return fmt.Errorf("%+v", in.deliveries(w))
		})
	})
	t.Run("rotate", func(t *testing.T) {
		var rotated webhook
		in.want("POST", "/api/webhooks/"+w.ID+"/rotate", "", 200, &rotated)
		for _, secret := range []string{w.Secret, rotated.Secret} { // the old one signs, too
			r.mu.Lock()
			r.secret = secret
			r.mu.Unlock()
			n := len(r.got())
			in.post("key-1", "export")
			all := r.await("an alert", func(all []message) error { return atLeast(all, n+1) })
			if signatures := strings.Fields(all[n].signature); len(signatures) != 2 {
				t.Errorf("signed with %q", signatures)
			}
		}
	})
	t.Run("gone", func(t *testing.T) {
		r.mu.Lock()
		r.answer = func(message) (int, http.Header) { return http.StatusGone, nil }
		r.mu.Unlock()
		in.post("key-1", "export")
		await(t, "disabled", 30*time.Second, func() error {
			var now webhook
			in.want("GET", "/api/webhooks/"+w.ID, "", 200, &now)
			if now.Enabled || *now.DisabledReason != "gone" {
				return fmt.Errorf("%+v", now)
			}
			return nil
		})
		in.want("POST", "/api/webhooks/"+w.ID+"/test", "", 409, nil)
	})
}

func atLeast(all []message, n int) error {
	if len(all) < n {
		return fmt.Errorf("%d messages", len(all))
	}
	return nil
}

// TestSIGKILLLosesNoAlert kills everything, the notifier with it, again and again under load: each alert is told, repeats have
// the id of the first, and there are no more of them than can have been on their way.
func TestSIGKILLLosesNoAlert(t *testing.T) {
	in := newNotifying(t)
	r := newReceiver(t)
	in.hook(r, `,"burst":1000`)
	rounds, each := 3, 60
	if os.Getenv("KEYPULSE_SOAK") != "" {
		rounds, each = 30, 300
	}
	for round := range rounds {
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() {
				for n := range each / 4 {
					key := fmt.Sprintf("key-%d-%d", i, n)
					if _, err := in.try("POST", "/api/events", fmt.Sprintf(`{"key_id":%q,"event_type":"export","severity":"nominal"}`, key)); err != nil {
						return // it was killed
					}
				}
			})
		}
		r.await("some messages of the round", func(all []message) error { return atLeast(all, round*each/2+each/4) })
		in.kill()
		wait.Wait()
		in.start()
		in.ready()
	}
	raised := map[string]bool{}
	await(t, "each alert told, and no other", 60*time.Second, func() error {
		raised = in.raisedAlerts()
		told := r.told()
		for id := range raised {
			if told[id] == nil {
				return fmt.Errorf("%s was not told; %d of %d were", id, len(told), len(raised))
			}
		}
		if len(told) != len(raised) { // ClickHouse has them a little later
			return fmt.Errorf("%d were told, %d are stored", len(told), len(raised))
		}
		return nil
	})
	repeats := 0
	for id, ids := range r.told() {
		for _, other := range ids[1:] {
			if repeats++; other != ids[0] {
				t.Errorf("alert %s came as %s and as %s", id, ids[0], other)
			}
		}
	}
	t.Logf("%d alerts, %d kills, %d repeats", len(raised), rounds, repeats)
	if len(raised) < rounds*each/4 {
		t.Errorf("only %d alerts were raised", len(raised))
	}
	const onTheirWay = 4 + 4 // at once, and ended since the last record of the outbox
	if repeats > rounds*onTheirWay {
		t.Errorf("%d repeats after %d kills", repeats, rounds)
	}
}

// told are the ids of the messages that told each alert.
func (r *receiver) told() map[string][]string {
	all := map[string][]string{}
	for _, m := range r.got() {
		if id := m.Data.Alert.ID; id != "" {
			all[id] = append(all[id], m.id)
		}
		for _, id := range m.Data.AlertIDs {
			all[id] = append(all[id], m.id)
		}
	}
	return all
}

// raisedAlerts are the ids of the alerts, but for those of newNotifying.
func (in *instance) raisedAlerts() map[string]bool {
	in.t.Helper()
	all, cursor := map[string]bool{}, ""
	for {
		var page struct {
			Alerts []struct {
				ID    string
				KeyID string `json:"key_id"`
			}
			NextCursor *string `json:"next_cursor"`
		}
		in.want("GET", "/api/alerts?limit=500"+cursor, "", 200, &page)
		for _, a := range page.Alerts {
			if a.KeyID != warmUp {
				all[a.ID] = true
			}
		}
		if page.NextCursor == nil {
			return all
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

// TestWebhookSnippets runs the receivers of docs/webhooks.md, and has them verify a real message and refuse a forged one.
func TestWebhookSnippets(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	in := newNotifying(t)
	for language, run := range map[string]func(file string) *exec.Cmd{
		"go":         func(file string) *exec.Cmd { return exec.Command("go", "run", file) },
		"python":     func(file string) *exec.Cmd { return exec.Command("python3", file) },
		"javascript": func(file string) *exec.Cmd { return exec.Command("node", file) },
	} {
		t.Run(language, func(t *testing.T) {
			_, code, found := strings.Cut(string(text), "```"+language+"\n")
			code, _, ended := strings.Cut(code, "```")
			if !found || !ended {
				t.Fatal("there is none")
			}
			file := filepath.Join(t.TempDir(), "receiver."+map[string]string{"go": "go", "python": "py", "javascript": "mjs"}[language])
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			listen := freeAddress(t)
			var w webhook
			in.want("POST", "/api/webhooks", fmt.Sprintf(`{"name":%q,"url":"http://%s/alerts"}`, language, listen), 201, &w)
			cmd := run(file)
			cmd.Env = append(os.Environ(), "LISTEN="+listen, "WEBHOOK_SECRET="+w.Secret)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // `go run` has a child
			var out lockedBuffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			}()
			await(t, "the receiver", 120*time.Second, func() error {
				resp, err := http.Post("http://"+listen+"/alerts", "application/json", strings.NewReader("{}"))
				if err != nil {
					return fmt.Errorf("%w; it printed %s", err, out.String())
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					return fmt.Errorf("a message without a signature is answered %d", resp.StatusCode)
				}
				return nil
			})
			in.post("documented", "export")
			await(t, "a verified message", 60*time.Second, func() error {
				if got := out.String(); !strings.Contains(got, `"key_id":"documented"`) {
					return fmt.Errorf("printed %s; %+v", got, in.deliveries(w))
				}
				return nil
			})
			in.want("DELETE", "/api/webhooks/"+w.ID, "", 204, nil)
		})
	}
}

// lockedBuffer is what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guards the following
}

// Write is part of io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSilences(t *testing.T) {
	in := newNotifying(t)
	r := newReceiver(t)
	in.hook(r, "")
	in.want("PUT", "/api/keys/tagged", `{"tags":["cold"]}`, 200, nil)
	var s struct {
		ID     string
		State  string
		Hidden struct {
			Count  int
			Alerts []string
		}
	}
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	in.want("POST", "/api/silences", fmt.Sprintf(`{"reason":"a drill","until":%q,"tags":["cold"],"rules":["export"]}`, until), 201, &s)
	for _, body := range []string{`{"reason":"x"}`, `{"until":"2026-01-01T00:00:00Z","reason":"x"}`, fmt.Sprintf(`{"until":%q}`, until), fmt.Sprintf(`{"reason":"x","until":%q,"severities":["bad"]}`, until), fmt.Sprintf(`{"reason":"x","until":%q,"unti":1}`, until)} {
		in.want("POST", "/api/silences", body, 400, nil)
	}
	in.post("tagged", "export")
	in.post("key", "export")
	r.await("the other alert", func(all []message) error { return atLeast(all, 1) })
	await(t, "hidden", 20*time.Second, func() error {
		in.want("GET", "/api/silences/"+s.ID, "", 200, &s)
		if s.Hidden.Count != 1 || len(s.Hidden.Alerts) != 1 || s.State != "active" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	in.want("DELETE", "/api/silences/"+s.ID, "", 204, nil)
	in.want("DELETE", "/api/silences/"+s.ID, "", 204, nil)
	in.want("GET", "/api/silences/"+s.ID, "", 200, &s)
	if s.State != "ended" {
		t.Errorf("%+v", s)
	}
	in.want("DELETE", "/api/silences/si_x", "", 404, nil)
	in.post("tagged", "export")
	for _, m := range r.await("the next alert", func(all []message) error { return atLeast(all, 2) }) {
		if m.Data.Alert.ID == s.Hidden.Alerts[0] {
			t.Errorf("the hidden alert was told: %+v", m)
		}
	}
}

// TestWebhookBodies wants bad input refused by name.
func TestWebhookBodies(t *testing.T) {
	in := newNotifying(t)
	for body, field := range map[string]string{
		`{"name":"x"}`: "url",
		`{"name":"","url":"https://example.com"}`:                          "name",
		`{"name":"x","url":"https://10.0.0.1/"}`:                           "url",
		`{"name":"x","url":"http://example.com:1/","urll":1}`:              "urll",
		`{"name":"x","url":"https://example.com","type":"pager"}`:          "type",
		`{"name":"x","type":"email","to":["a@example.com"]}`:               "type",
		`{"name":"x","url":"https://example.com","burst":1001}`:            "burst",
		`{"name":"x","url":"https://example.com","digest_seconds":1}`:      "digest_seconds",
		`{"name":"x","url":"https://example.com","severities":["high"]}`:   "severities",
		`{"name":"x","url":"https://example.com","rules":["a","a"]}`:       "rules",
		`{"name":"x","url":"https://example.com","tags":[""]}`:             "tags",
		`{"name":"x","url":"https://example.com","rules":"export"}`:        "rules",
		`{"name":"x","url":"https://example.com","to":["a@example.com"]}`:  "to",
		`{"name":"x","url":"https://user:pass@example.com/","enabled":1}`:  "enabled",
		`{"name":"x","url":"https://user:pass@example.com/"}`:              "url",
		`{"name":"x","url":"https://example.com/","type":"slack","to":[]}`: "",
	} {
		r := in.call("POST", "/api/webhooks", body)
		var f struct{ Errors []struct{ Field string } }
		r.into(t, &f)
		if field == "" && r.status != 201 || field != "" && (r.status != 400 || len(f.Errors) != 1 || f.Errors[0].Field != field) {
			t.Errorf("%s: %d %s, want %q", body, r.status, r.body, field)
		}
	}
	var w webhook
	in.want("POST", "/api/webhooks", `{"name":"x","url":"https://example.com/a"}`, 201, &w)
	own := "/api/webhooks/" + w.ID
	in.want("PUT", own, `{"name":"y"}`, 400, nil)
	in.want("PUT", own, `{"name":"y","version":7}`, 409, nil)
	in.want("PUT", own, `{"name":"y","version":1,"enabled":false}`, 200, &w)
	if w.Version != 2 || w.Enabled || *w.URL != "https://example.com/a" {
		t.Errorf("%+v", w)
	}
	in.want("POST", own+"/test", "", 409, nil)
	in.want("POST", own+"/deliveries/msg_x/resend", "", 404, nil)
	in.want("POST", own+"/rotate", `{"overlap_seconds":-1}`, 400, nil)
	in.want("DELETE", own, "", 204, nil)
	in.want("DELETE", own, "", 404, nil)
	in.want("GET", own+"/deliveries", "", 404, nil)
}
