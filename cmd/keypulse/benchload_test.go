package main

import (
	"encoding/json"
	"testing"

	"keypulse/bench"
)

// TestBenchLoadAndRead loads an instance that runs, and asks it: every question is answered by both ways, and the sink's proof
// still holds.
func TestBenchLoadAndRead(t *testing.T) {
	in := upAndReady(t)
	in.post("k", "export")
	for _, events := range []string{"30000", "60000", "60000"} { // a load goes on where the last one ended
		output(t, in.settings, "bench", "load", "--events", events, "--keys", "500", "--block", "30000", "--until", "2026-04-05T12:34:00Z")
	}
	var created struct {
		APIKey string `json:"api_key"`
	}
	text := output(t, in.settings, "apikey", "create", "--tenant", "bench", "--name", "bench", "--rate-limit", "0", "--json")
	if err := json.Unmarshal([]byte(text), &created); err != nil {
		t.Fatal(err)
	}
	var results []bench.ReadResult
	text = output(t, in.settings, "bench", "read", "--url", in.url, "--api-key", created.APIKey, "--keys", "500", "--requests", "2", "--raw", "1", "--json")
	if err := json.Unmarshal([]byte(text), &results); err != nil || len(results) != 9 {
		t.Fatalf("%d questions, %v: %s", len(results), err, text)
	}
	for _, r := range results {
		if r.REST.Count != 2 || r.Straight.Count != 2 || r.Rows < 1 {
			t.Errorf("%+v", r)
		}
	}
	output(t, in.settings, "verify", "--wait", "30s")
}
