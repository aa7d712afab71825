package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// chunkAnswer is one line of a bulk request's answer.
type chunkAnswer struct {
	Success    bool
	First      int `json:"first_line"`
	Last       int `json:"last_line"`
	Count      int
	Alerts     int `json:"alerts_triggered"`
	Evaluated  bool
	IDs        []int64
	Duplicates []int `json:"duplicate_lines"`
	Message    string
	Code       string
	EventIDs   []string `json:"event_ids"`
	Errors     []struct {
		Line           int
		Field, Message string
	}
}

// bulk sends lines and returns the answer's status and lines.
func (n *node) bulk(body []byte, headers ...string) (int, []chunkAnswer) {
	n.Helper()
	req, err := http.NewRequestWithContext(n.Context(), http.MethodPost, n.url+BulkPath, bytes.NewReader(body))
	if err != nil {
		n.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.apiKey)
	req.Header.Set("Content-Type", "application/x-ndjson")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.http.Do(req)
	if err != nil {
		n.Fatal(err)
	}
	defer resp.Body.Close()
	var answers []chunkAnswer
	for d := json.NewDecoder(resp.Body); ; {
		var a chunkAnswer
		if err := d.Decode(&a); err == io.EOF {
			return resp.StatusCode, answers
		} else if err != nil {
			n.Fatal(err)
		}
		answers = append(answers, a)
	}
}

// bulkLines is lines from..to, each an event named by its number.
func bulkLines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, `{"key_id":"k%d","event_type":"e","severity":"nominal","actor":"%d"}`+"\n", i%7, i)
	}
	return b.String()
}

func zipped(t testing.TB, encoding string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if encoding == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBulk(t *testing.T) {
	n, _, _ := start(t, nil)
	body := bulkLines(1, 2500)
	for _, encoding := range []string{"", "gzip", "zstd"} {
		sent := []byte(body)
		if encoding != "" {
			sent = zipped(t, encoding, sent)
		}
		status, answers := n.bulk(sent, "Content-Encoding", encoding, "Idempotency-Key", "job")
		if status != 201 || len(answers) != 3 {
			t.Fatalf("%s: %d %+v", encoding, status, answers)
		}
		for i, want := range [][2]int{{1, 1000}, {1001, 2000}, {2001, 2500}} {
			a := answers[i]
			count := want[1] - want[0] + 1
			if !a.Success || a.First != want[0] || a.Last != want[1] || a.Count != count || len(a.IDs) != count || !a.Evaluated {
				t.Errorf("%s: chunk %d: %+v", encoding, i, a)
			}
		}
	}
	// A key's events are in the log in the order of their lines, and have the Idempotency-Key's event_ids.
	last := map[string]int{}
	for _, e := range n.logged() {
		var line int
		fmt.Sscan(e.Actor, &line)
		if e.EventID != fmt.Sprint("job-", line-1) {
			t.Fatalf("line %d has event_id %s", line, e.EventID)
		}
		if line < last[e.KeyID] && line > 7 {
			t.Errorf("key %s: line %d after %d", e.KeyID, line, last[e.KeyID])
		}
		last[e.KeyID] = line
	}
}

func TestBulkChunksAreAllOrNothing(t *testing.T) {
	n, _, _ := start(t, nil)
	long := `{"key_id":"` + strings.Repeat("x", maxLine) + `"}` + "\n"
	body := bulkLines(1, 1000) +
		bulkLines(1001, 1499) + `{"key_id":"k","event_type":"e","severity":"bad"}` + "\n" + long + "\n" + "{\"key_id\":\"\xff\"}\n" + bulkLines(1504, 2000) +
		bulkLines(2001, 2010) + `{"key_id":"k","event_type":"alarm-2","severity":"nominal"}`
	status, answers := n.bulk([]byte(body))
	if status != 400 || len(answers) != 3 {
		t.Fatalf("%d %+v", status, answers)
	}
	if a := answers[1]; a.Success || a.First != 1001 || a.Last != 2000 || a.Code != "invalid_field" || len(a.Errors) != 4 ||
		a.Errors[0].Line != 1500 || a.Errors[0].Field != "severity" || a.Errors[1].Line != 1501 || !strings.Contains(a.Errors[1].Message, "longer than") ||
		a.Errors[2].Line != 1502 || a.Errors[3].Line != 1503 || !strings.Contains(a.Errors[3].Message, "line 1503, column 12: invalid UTF-8") {
		t.Errorf("bad chunk: %+v", a)
	}
	if a := answers[2]; !a.Success || a.First != 2001 || a.Last != 2011 || a.Alerts != 2 {
		t.Errorf("the chunk after it: %+v", a)
	}
	if got := len(n.logged()); got != 1011 {
		t.Errorf("%d events in the log, want 1011", got)
	}
}

// TestBulkOutcomeUnknown loses the acknowledgements of the second of three chunks: its line says so, the third is not read,
// and the whole request, sent again, puts each event into the log under its own event_id.
func TestBulkOutcomeUnknown(t *testing.T) {
	n, j, u := start(t, hasty)
	n.event("first")
	speak := j.silence(t)
	type answer struct {
		status int
		lines  []chunkAnswer
	}
	answered := make(chan answer, 1)
	body := []byte(bulkLines(1, 2500))
	go func() {
		status, lines := n.bulk(body, "Idempotency-Key", "job", "Prefer", "wait=30")
		answered <- answer{status, lines}
	}()
	until(t, "the first chunk waits for its verdicts", func() bool { return n.waiting() == 1000 })
	lost := u.Answer(brokertest.Produce, schema.TopicEvents, brokertest.NotEnoughReplicasAfterAppend, -1)
	speak()
	a := <-answered
	lost.Remove()
	if a.status != 503 || len(a.lines) != 2 || !a.lines[0].Success {
		t.Fatalf("%d %.500s", a.status, fmt.Sprint(a.lines))
	}
	if l := a.lines[1]; l.Success || l.Code != "outcome_unknown" || l.First != 1001 || l.Last != 2000 || len(l.EventIDs) != 1000 || l.EventIDs[999] != "job-1999" {
		t.Errorf("the chunk whose outcome is unknown: %.500s", fmt.Sprint(l))
	}
	if status, lines := n.bulk(body, "Idempotency-Key", "job", "Prefer", "respond-async"); status != 202 || len(lines) != 3 {
		t.Errorf("sent again: %d %.500s", status, fmt.Sprint(lines))
	}
	times := map[string]int{}
	for _, e := range n.logged() {
		times[e.EventID]++
	}
	for i := range 2500 {
		want := 1
		if i < 2000 {
			want = 2 // the processor finds the first: package dedup
		}
		if id := fmt.Sprint("job-", i); times[id] != want {
			t.Errorf("%s is in the log %d times, want %d", id, times[id], want)
		}
	}
}

func TestBulkRefuses(t *testing.T) {
	n, _, _ := start(t, nil)
	f := func(name string, body []byte, status int, code string, accepted int, headers ...string) {
		t.Helper()
		before := len(n.logged())
		got, answers := n.bulk(body, headers...)
		if got != status || len(answers) == 0 || answers[len(answers)-1].Code != code {
			t.Errorf("%s: %d %.300v, want %d %s", name, got, fmt.Sprint(answers), status, code)
		}
		if in := len(n.logged()) - before; in != accepted {
			t.Errorf("%s: %d events are in the log, want %d", name, in, accepted)
		}
	}
	plain := []byte(bulkLines(1, 1500))
	f("JSON", plain, 415, "unsupported_media_type", 0, "Content-Type", "application/json")
	f("nothing", nil, 400, "invalid_request", 0)
	for _, encoding := range []string{"gzip", "zstd"} {
		z := zipped(t, encoding, plain)
		whole := map[string]int{"gzip": 1000, "zstd": 0}[encoding] // the cut is in the only block of zstd
		f(encoding+" cut", z[:len(z)-5], 400, "invalid_request", whole, "Content-Encoding", encoding)
		f(encoding+" of nothing", nil, 400, "invalid_request", 0, "Content-Encoding", encoding)
		f(encoding+" and more", append(zipped(t, encoding, plain), "x"...), 400, "invalid_request", 1000, "Content-Encoding", encoding)
		f("not "+encoding, plain, 400, "invalid_request", 0, "Content-Encoding", encoding)
		f("another encoding", z, 400, "invalid_request", 0, "Content-Encoding", map[string]string{"gzip": "zstd", "zstd": "gzip"}[encoding])
	}
	z := zipped(t, "gzip", plain)
	f("two gzip members", append(bytes.Clone(z), z...), 400, "invalid_request", 1000, "Content-Encoding", "gzip")
	f("br", z, 415, "unsupported_media_type", 0, "Content-Encoding", "br")
	f("two encodings", z, 415, "unsupported_media_type", 0, "Content-Encoding", "gzip, zstd")
	f("too long", make([]byte, BulkLimit+1), 413, "body_too_large", 0)
	f("too long when decompressed", zipped(t, "zstd", append([]byte(bulkLines(1, 1000)), make([]byte, BulkLimit)...)), 413, "body_too_large", 1000, "Content-Encoding", "zstd")
}

// A bomb of 256 MiB costs no more than the limits say.
func TestBulkBombsAreBounded(t *testing.T) {
	n, _, _ := start(t, nil)
	for _, encoding := range []string{"gzip", "zstd"} {
		bomb := zipped(t, encoding, make([]byte, 256<<20))
		if len(bomb) > BulkLimit {
			t.Fatalf("a bomb of %d bytes", len(bomb))
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 4 {
			if status, answers := n.bulk(bomb, "Content-Encoding", encoding); status != 413 {
				t.Errorf("%s: %d %+v", encoding, status, answers)
			}
		}
		runtime.ReadMemStats(&after)
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 {
			t.Errorf("%s: four bombs of 256 MiB allocated %d MiB", encoding, took)
		}
	}
}
