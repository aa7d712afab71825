package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// watch is a client of GET /api/stream.
type watch struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Scanner
	id   string // of the last frame
}

// watch opens the stream, after a frame's id unless it is "".
func (in *instance) watch(query, id string) *watch {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodGet, in.url+"/api/stream?"+query, http.NoBody)
	if err != nil {
		in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+in.apiKey)
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { _ = r.Body.Close() })
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(r.Body)
		in.t.Fatalf("GET /api/stream: %d %s %s", r.StatusCode, r.Header.Get("Content-Type"), body)
	}
	return &watch{t: in.t, body: r.Body, in: bufio.NewScanner(r.Body)}
}

// next returns the next frame's event and data; "" at the end of the stream.
func (w *watch) next() (name string, data []byte) {
	for w.in.Scan() {
		field, value, _ := strings.Cut(w.in.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			w.id = value
		case "data":
			return name, []byte(value)
		}
	}
	return "", nil
}

// ids reads the ids of the next n events, and wants each to be as the API shows it.
func (w *watch) ids(n int) (all []int64) {
	w.t.Helper()
	for range n {
		name, data := w.next()
		var e event
		if err := json.Unmarshal(data, &e); err != nil || name != "event" || !e.Evaluated {
			w.t.Fatalf("got %s %s (%v), want an event", name, data, err)
		}
		all = append(all, e.ID)
	}
	return all
}

func TestStreamShowsEventsAndAlerts(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	in.call(http.MethodPost, "/api/rules", `{"id":"export","name":"An export","severity":"critical","when":"event_type == \"export\""}`)
	w := in.watch("key_id=watched", "")
	in.post("other", "rotation")
	first := in.post("watched", "rotation")
	if got := w.ids(1); !slices.Equal(got, []int64{first.ID}) {
		t.Fatalf("the stream shows %v, want %d", got, first.ID)
	}
	await(t, "the rule in force", 20*time.Second, func() error {
		if e := in.post("watched", "export"); e.AlertsTriggered == 0 {
			return fmt.Errorf("event %d raised none", e.ID)
		}
		return nil
	})
	name, data := "", []byte(nil)
	for name != "alert" {
		if name, data = w.next(); name == "" {
			t.Fatal("the stream ended before the alert")
		}
	}
	var a struct {
		RuleID string `json:"rule_id"`
		KeyID  string `json:"key_id"`
		State  string
	}
	if err := json.Unmarshal(data, &a); err != nil || a.RuleID != "export" || a.KeyID != "watched" || a.State != "open" {
		t.Errorf("the alert: %s (%v)", data, err)
	}

	_ = w.body.Close()
	missed := []int64{in.post("watched", "rotation").ID, in.post("watched", "rotation").ID}
	w = in.watch("key_id=watched", w.id)
	if got := w.ids(2); !slices.Equal(got, missed) {
		t.Errorf("after Last-Event-ID: %v, want %v", got, missed)
	}
	if r := in.call(http.MethodGet, "/api/stream?sinc=1", ""); r.status != http.StatusBadRequest {
		t.Errorf("an unknown parameter: %d %s", r.status, r.body)
	}
	if code := in.terminate(); code != 0 {
		t.Errorf("exit code %d with an open stream:\n%s", code, in.printed())
	}
	if name, data := w.next(); name != "" || w.in.Err() != nil {
		t.Errorf("at the end: %s %s %v", name, data, w.in.Err())
	}
}

// TestStreamEndsWithItsAPIKey revokes the key of an open stream.
func TestStreamEndsWithItsAPIKey(t *testing.T) {
	in := upAndReady(t)
	var made struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(output(t, in.settings, "apikey", "create", "--tenant", "demo", "--name", "watcher", "--scopes", "read", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	in.apiKey = made.APIKey
	w := in.watch("", "")
	output(t, in.settings, "apikey", "revoke", made.ID)
	if name, data := w.next(); name != "" {
		t.Errorf("after the revocation: %s %s", name, data)
	}
}
