package decode

import (
	"encoding/json"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const benchEvent = `{"key_id":"my-signing-key-01","event_type":"signing_request","severity":"nominal","source_ip":"10.0.0.1",` +
	`"actor":"service-account@myapp.com","details":{"amount_usd":12500.5,"destination":"bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh",` +
	`"chain":"bitcoin","approvals":["alice","bob"]},"event_id":"0190a6f2-1111-7000-8000-0123456789ab"}`

var benchBatch = `{"events":[` + strings.Repeat(benchEvent+",", 99) + benchEvent + `]}`

// plainEvent is what a handler without our rules would decode into.
type plainEvent struct {
	KeyID    string          `json:"key_id"`
	Type     string          `json:"event_type"`
	Severity string          `json:"severity"`
	SourceIP string          `json:"source_ip"`
	Actor    string          `json:"actor"`
	Details  json.RawMessage `json:"details"`
	EventID  string          `json:"event_id"`
}

// v2Event is the same for the fastest strict library: go-json-experiment/json refuses what we refuse of JSON.
type v2Event struct {
	KeyID    string         `json:"key_id"`
	Type     string         `json:"event_type"`
	Severity string         `json:"severity"`
	SourceIP string         `json:"source_ip"`
	Actor    string         `json:"actor"`
	Details  jsontext.Value `json:"details"`
	EventID  string         `json:"event_id"`
}

func BenchmarkDecodeEvent(b *testing.B) {
	body := []byte(benchEvent)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			d := Open(body)
			if _, errs := d.Event(); errs != nil {
				b.Fatal(errs)
			}
			d.Close()
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var e plainEvent
			if err := json.Unmarshal(body, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeBatch100(b *testing.B) {
	body := []byte(benchBatch)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			d := Open(body)
			if _, errs := d.Batch(100); errs != nil {
				b.Fatal(errs)
			}
			d.Close()
		}
	})
	b.Run("json-v2", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var batch struct {
				Events []v2Event `json:"events"`
			}
			if err := jsonv2.Unmarshal(body, &batch, jsonv2.RejectUnknownMembers(true)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var batch struct {
				Events []plainEvent `json:"events"`
			}
			if err := json.Unmarshal(body, &batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}
