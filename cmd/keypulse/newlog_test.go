package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLostLog takes the log away and leaves the tables: nothing goes on until somebody begins a new log, and then no id is
// given a second time.
func TestLostLog(t *testing.T) {
	in := upAndReady(t)
	before := in.post("k", "before")
	in.verified()
	in.kill()
	data := strings.TrimPrefix(in.settings[0], "KEYPULSE_DATA=")
	if err := os.RemoveAll(filepath.Join(data, "kafka")); err != nil {
		t.Fatal(err)
	}
	out, err := keypulse(in.settings, "up").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "keypulse migrate --new-log") {
		t.Fatalf("up without its log: %v\n%s", err, out)
	}
	if text := output(t, in.settings, "migrate", "--new-log"); !strings.Contains(text, "A new log begins") {
		t.Errorf("%s", text)
	}
	in.out.Reset()
	in.apiKey = "" // it has gone with the log
	in.start()
	in.ready()
	after := in.post("k", "after")
	in.verified()
	if after.ID <= before.ID {
		t.Errorf("id %d after %d", after.ID, before.ID)
	}
	if events := in.events("key_id=k"); len(events) != 2 {
		t.Errorf("%d events, want both", len(events))
	}
}
