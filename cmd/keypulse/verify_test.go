package main

import (
	"encoding/json"
	"strings"
	"testing"

	"keypulse/internal/store"
	"keypulse/sink"
)

// TestVerifyCommand verifies beside a running instance, then takes an event away.
func TestVerifyCommand(t *testing.T) {
	in := upAndReady(t)
	for range 5 {
		in.post("k", "export")
	}
	var report sink.Report
	text := output(t, in.settings, "verify", "--wait", "30s", "--json")
	if err := json.Unmarshal([]byte(text), &report); err != nil || report.Missing+report.Doubled+report.NotYet+report.Lost != 0 {
		t.Fatalf("%v: %s", err, text)
	}
	stored := int64(0)
	for _, f := range report.Findings {
		if f.Table == "events" {
			stored += f.Rows
		}
	}
	if stored != 5 {
		t.Errorf("%d events stored, want 5: %s", stored, text)
	}
	db, err := store.Open(t.Context(), in.dsn(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Exec(t.Context(), "ALTER TABLE events DELETE WHERE kafka_offset = 2 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	cmd := keypulse(in.settings, "verify")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "missing") {
		t.Errorf("with an event missing it ended with %v:\n%s", err, out)
	}
}
