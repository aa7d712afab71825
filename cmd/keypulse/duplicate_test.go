package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keypulse/internal/openapi/openapitest"
)

// sent is an answer to POST, with the members that retries are about.
type sent struct {
	event
	EventID   string `json:"event_id"`
	Duplicate bool
	CreatedAt string `json:"created_at"`
}

// send posts a body with an Idempotency-Key, where it is not "".
func (in *instance) send(path, idempotencyKey, body string) reply {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, in.url+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+in.apiKey)
	req.Header.Set("Content-Type", "application/json")
	if idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", idempotencyKey)
	}
	r, err := openapitest.Client(in.t).Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer r.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		in.t.Fatal(err)
	}
	return reply{r.StatusCode, r.Header, b.Bytes()}
}

// TestSendingAgainDoublesNothing sends events a second time, as a client does that lost the answer: alone, in a batch, by
// Idempotency-Key, and after a kill -9.
func TestSendingAgainDoublesNothing(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rule.yaml", `
id: any-export
name: An export
when: event_type == "export"
severity: warning
score: 20
`))
	export := `{"key_id":"k","event_type":"export","severity":"nominal","event_id":"order-17","details":{"n":1}}`
	var first, again sent
	in.send("/api/events", "", export).into(t, &first)
	if first.Duplicate || first.AlertsTriggered != 1 || first.EventID != "order-17" {
		t.Fatalf("the first: %+v", first)
	}
	check := func(what string) {
		t.Helper()
		r := in.send("/api/events", "", export)
		again = sent{}
		r.into(t, &again)
		if r.status != http.StatusCreated || !again.Duplicate || again.ID != first.ID || again.AlertsTriggered != 1 || again.CreatedAt != first.CreatedAt {
			t.Errorf("%s: %d %s, the first %+v", what, r.status, r.body, first)
		}
	}
	check("again")
	in.kill()
	in.start()
	in.ready()
	check("after the kill")

	if r := in.send("/api/events", "", strings.Replace(export, `"n":1`, `"n":2`, 1)); r.status != http.StatusConflict {
		t.Errorf("other content: %d %s", r.status, r.body)
	}
	var other sent
	in.send("/api/events", "", strings.Replace(export, `"k"`, `"k2"`, 1)).into(t, &other)
	if other.Duplicate {
		t.Errorf("another key's event with the same event_id: %+v", other)
	}

	batch := `{"events":[{"key_id":"b","event_type":"rotation","severity":"nominal"},{"key_id":"b","event_type":"rotation","severity":"nominal","event_id":"own"}]}`
	var batches [2]struct{ Events []sent }
	for i := range batches {
		r := in.send("/api/events/batch", "batch-1", batch)
		if r.status != http.StatusCreated {
			t.Fatalf("batch: %d %s", r.status, r.body)
		}
		r.into(t, &batches[i])
	}
	for i, id := range []string{"batch-1-0", "own"} {
		a, b := batches[0].Events[i], batches[1].Events[i]
		if a.Duplicate || !b.Duplicate || a.ID != b.ID || a.EventID != id || b.EventID != id {
			t.Errorf("event %d of the batch: %+v, again %+v", i, a, b)
		}
	}

	in.verified()
	await(t, "each event counted once", 20*time.Second, func() error {
		var stats struct {
			Total int `json:"total_events"`
		}
		in.call("GET", "/api/stats", "").into(t, &stats)
		if n := len(in.events("limit=500")); n != 4 || stats.Total != 4 {
			return fmt.Errorf("%d events listed, %d counted, want 4", n, stats.Total)
		}
		return nil
	})
	var keys struct {
		Keys []struct {
			Name  string
			Count int `json:"event_count"`
		}
	}
	if err := json.Unmarshal(in.call("GET", "/api/keys", "").body, &keys); err != nil || fmt.Sprint(keys.Keys) != "[{b 2} {k 1} {k2 1}]" {
		t.Errorf("keys: %v, %v", keys.Keys, err)
	}
}
