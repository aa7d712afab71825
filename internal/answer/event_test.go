package answer

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// reference is the event that the API's reference shows.
func reference() Event {
	return Event{
		ID: 4821,
		Event: &schema.Event{
			Tenant:    "demo",
			KeyID:     "my-signing-key-01",
			Type:      "signing_request",
			Severity:  schema.Nominal,
			SourceIP:  "10.0.0.1",
			Actor:     "service-account@myapp.com",
			EventID:   "019602c4-1f40-7b5c-8d1e-5f0a3c2b1d00",
			CreatedAt: schema.MillisOf(time.Date(2026, 4, 5, 12, 34, 0, 0, time.UTC)),
		},
		Evaluated: true,
	}
}

func TestAppendEventGolden(t *testing.T) {
	f := func(name string, got []byte) {
		t.Helper()
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	bare := reference()
	bare.Event.SourceIP, bare.Event.Actor = "", ""
	full := reference()
	full.Event.Details = []byte(`{ "amount":1.0e0, "a":[ 1,2 ] }`)
	full.Event.Severity = schema.Critical
	full.Alerts, full.Score = 2, 70
	full.Event.KeyID = "quote \" backslash \\ tab \t line\u2028 key-ключ"

	f("post.golden.json", append(AppendEventMembers([]byte(`{"success":true,`), reference()), '}'))
	f("bare.golden.json", AppendEvent(nil, bare))
	f("full.golden.json", AppendEvent(nil, full))
}

// TestReferenceComesFirst holds the encoder against the example as the reference prints it.
func TestReferenceComesFirst(t *testing.T) {
	const example = `{"success": true, "id": 4821, "key_id": "my-signing-key-01", "event_type": "signing_request", "severity": "nominal",
 "source_ip": "10.0.0.1", "actor": "service-account@myapp.com", "details": {}, "created_at": "2026-04-05T12:34:00.000Z",
 "alerts_triggered": 0}`
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(example)); err != nil {
		t.Fatal(err)
	}
	prefix := want.Bytes()[:want.Len()-1]
	got := AppendEventMembers([]byte(`{"success":true,`), reference())
	if !bytes.HasPrefix(got, prefix) {
		t.Errorf("got %s, want it to start with %s", got, prefix)
	}
}

func TestAnswerIsJSON(t *testing.T) {
	f := func(keyID string) {
		t.Helper()
		e := reference()
		e.Event.KeyID = keyID
		var back struct {
			KeyID string `json:"key_id"`
		}
		if err := json.Unmarshal(AppendEvent(nil, e), &back); err != nil {
			t.Fatalf("%q: %v", keyID, err)
		}
		if want := string([]rune(keyID)); back.KeyID != want {
			t.Errorf("got %q, want %q", back.KeyID, want)
		}
	}
	f("plain")
	f("\x00\x1f\x7f\"\\/")
	f("bad \xff utf-8")
	f("😀\u2029")
}

func TestAppendEventAllocates(t *testing.T) {
	e := reference()
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = AppendEvent(b[:0], e) }); n != 0 {
		t.Errorf("got %v allocations for an event, want 0", n)
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e := reference()
	out := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		out = AppendEvent(out[:0], e)
	}
}

func TestAppendString(t *testing.T) {
	for _, odd := range []string{"", "\"", "\\", "\x00", "\x1f", "\x7f", "ä", "\u2028", "\xff", "a\"b", " ", "!", "#"} {
		for length := range 20 {
			for at := range length + 1 {
				s := strings.Repeat("x", at) + odd + strings.Repeat("~", length-at)
				want, _ := jsontext.AppendQuote(nil, s)
				if got := AppendString(nil, s); string(got) != string(want) {
					t.Fatalf("%q: %s, want %s", s, got, want)
				}
			}
		}
	}
}
