package peers

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/bytedance/sonic"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	goccy "github.com/goccy/go-json"
	jsoniter "github.com/json-iterator/go"
	"github.com/minio/simdjson-go"

	"keypulse/ingest/decode"
)

// plainEvent is what a handler would decode into; the details stay as they were sent.
type plainEvent[Raw any] struct {
	KeyID     string `json:"key_id"`
	EventType string `json:"event_type"`
	Severity  string `json:"severity"`
	SourceIP  string `json:"source_ip"`
	Actor     string `json:"actor"`
	Details   Raw    `json:"details"`
	EventID   string `json:"event_id"`
}

type plainBatch[Raw any] struct {
	Events []plainEvent[Raw] `json:"events"`
}

// reader reads a batch; each is as strict as it can be told to be. strict says whether that is what our API promises: no name
// twice or in another case, no bad UTF-8, no unknown member.
type reader struct {
	name   string
	strict bool
	read   func(body []byte) error
}

func readers() []reader {
	sonicAPI := sonic.Config{CopyString: false, ValidateString: true, CaseSensitive: true, DisallowUnknownFields: true}.Froze()
	iterAPI := jsoniter.Config{CaseSensitive: true, DisallowUnknownFields: true}.Froze()
	var tape *simdjson.ParsedJson
	return []reader{
		{"keypulse", true, func(body []byte) error {
			d := decode.Open(body)
			defer d.Close()
			if _, errs := d.Batch(batchEvents); errs != nil {
				return errors.New(errs[0].Message)
			}
			return nil
		}},
		{"encoding-json", false, func(body []byte) error {
			var batch plainBatch[json.RawMessage]
			return json.Unmarshal(body, &batch)
		}},
		{"json-v2", true, func(body []byte) error {
			var batch plainBatch[jsontext.Value]
			return jsonv2.Unmarshal(body, &batch, jsonv2.RejectUnknownMembers(true))
		}},
		{"sonic", false, func(body []byte) error {
			var batch plainBatch[json.RawMessage]
			return sonicAPI.Unmarshal(body, &batch)
		}},
		{"goccy", false, func(body []byte) error {
			var batch plainBatch[goccy.RawMessage]
			return goccy.UnmarshalNoEscape(body, &batch)
		}},
		{"jsoniter", false, func(body []byte) error {
			var batch plainBatch[jsoniter.RawMessage]
			return iterAPI.Unmarshal(body, &batch)
		}},
		{"simdjson-tape", false, func(body []byte) (err error) { // only the tape: nothing is looked up in it
			tape, err = simdjson.Parse(body, tape)
			return err
		}},
	}
}

// BenchmarkDecode reads batches of 100 events, in turns. One iteration is one turn of each: use -benchtime 7x. What is reported
// are medians of CPU time; a ratio compares turns that followed each other.
func BenchmarkDecode(b *testing.B) {
	const batches = 500
	withID := event[:len(event)-1] + `,"event_id":"0190a6f2-1111-7000-8000-0123456789ab"}`
	body := []byte(`{"events":[` + strings.Repeat(withID+",", batchEvents-1) + withID + `]}`)
	all := readers()
	cpu, allocated := make([][]float64, len(all)), make([]float64, len(all))
	for b.Loop() {
		for i, r := range all {
			if err := r.read(body); err != nil { // warms up
				b.Fatalf("%s: %v", r.name, err)
			}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := cpuTime(b)
			for range batches {
				if err := r.read(body); err != nil {
					b.Fatalf("%s: %v", r.name, err)
				}
			}
			cpu[i] = append(cpu[i], float64((cpuTime(b)-began).Nanoseconds())/(batches*batchEvents))
			runtime.ReadMemStats(&after)
			allocated[i] = float64(after.Mallocs-before.Mallocs) / (batches * batchEvents)
		}
	}
	for i, r := range all {
		b.ReportMetric(median(cpu[i]), r.name+"-ns/event")
		b.ReportMetric(allocated[i], r.name+"-allocs/event")
		if i > 0 {
			b.ReportMetric(median(ratios(cpu[i], cpu[0])), r.name+"-of-keypulse")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// TestWhoIsStrict says which of the readers refuse what our API refuses.
func TestWhoIsStrict(t *testing.T) {
	good := `{"events":[{"key_id":"k","event_type":"export","severity":"nominal"}]}`
	bad := map[string]string{
		"a name twice":           strings.Replace(good, `"key_id":"k"`, `"key_id":"k","key_id":"l"`, 1),
		"a name in another case": strings.Replace(good, `"key_id"`, `"Key_ID"`, 1),
		"bad UTF-8":              strings.Replace(good, `"k"`, "\"\xff\"", 1),
		"an unknown member":      strings.Replace(good, `"key_id":"k"`, `"key_id":"k","x":1`, 1),
		"a lone surrogate":       strings.Replace(good, `"k"`, `"\ud800"`, 1),
		"twice in details":       strings.Replace(good, `"nominal"`, `"nominal","details":{"a":1,"a":2}`, 1),
	}
	for _, r := range readers() {
		if err := r.read([]byte(good)); err != nil {
			t.Errorf("%s refuses a good batch: %v", r.name, err)
		}
		taken := 0
		for what, body := range bad {
			if r.read([]byte(body)) == nil {
				taken++
				if r.strict {
					t.Errorf("%s takes %s", r.name, what)
				}
			}
		}
		t.Logf("%s takes %d of %d bad batches", r.name, taken, len(bad))
	}
}
