package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	f := func(body string, batch, ok bool, want answer) {
		t.Helper()
		var a answer
		if got := a.read([]byte(body), batch); got != ok {
			t.Fatalf("read %s: %v", body, got)
		}
		if ok && (a.alerts != want.alerts || a.notEvaluated != want.notEvaluated || !slices.Equal(a.ids, want.ids)) {
			t.Errorf("read %s: %+v", body, a)
		}
	}
	f(`{"success":true,"id":4821,"details":{"id":1,"alerts_triggered":9,"s":"}\\\"{"},"alerts_triggered":2,"evaluated":true}`,
		false, true, answer{alerts: 2, ids: []int64{4821}})
	f(" {\n\"id\" : 1 ,\t\"alerts_triggered\": 0, \"evaluated\": false, \"actor\": null } ", false, true,
		answer{notEvaluated: 1, ids: []int64{1}})
	f(`{"alerts_triggered":3,"events":[{"id":1,"alerts_triggered":1},{"evaluated":false,"id":2,"alerts_triggered":2}]}`,
		true, true, answer{alerts: 3, notEvaluated: 1, ids: []int64{1, 2}})
	f(`{"events":[],"alerts_triggered":0}`, true, true, answer{})
	f(`{"events":[{"id":1}],"alerts_triggered":0}`, true, false, answer{})
	f(`{"events":[{"id":1,"alerts_triggered":0}]}`, true, false, answer{})
	f(`{"id":1}`, false, false, answer{})
	f(`{"id":"1","alerts_triggered":0}`, false, false, answer{})
	f(`{"id":1,"alerts_triggered":0`, false, false, answer{})
	f(`{"id":1,"alerts_triggered":0}}`, false, false, answer{})
	f(`[]`, false, false, answer{})
	f(``, false, false, answer{})
}

func TestFailure(t *testing.T) {
	code, message := failure([]byte(`{"success":false,"message":"no","code":"outcome_unknown","errors":[{"message":"x"}]}`))
	if code != "outcome_unknown" || message != "no" {
		t.Errorf("%q %q", code, message)
	}
	if code, message = failure([]byte("<html>")); code != "" || message != "" {
		t.Errorf("%q %q", code, message)
	}
}

// FuzzEachMember holds the walk to encoding/json: what that accepts as an object has the same names and values.
func FuzzEachMember(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[1,{"c":"]"}],"d":"\\\""}`, `{"a"`, `{"a":}`, `{"":{}}`, `[1,2]`, `{"a":1,}`, `"\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]string{}
		ok := eachMember(b, func(name, value []byte) { got[string(name)] = string(value) })
		eachElement(b, func([]byte) {})
		var want map[string]json.RawMessage
		if json.Unmarshal(b, &want) != nil || want == nil || strings.ContainsRune(string(b), '\\') || !strings.Contains(string(b), "{") {
			return
		}
		if !ok {
			t.Fatalf("%q is an object", b)
		}
		for name, value := range want {
			if got[name] != string(value) && json.Valid([]byte(fmt.Sprintf("%q", name))) && !strings.ContainsRune(name, '\ufffd') {
				t.Errorf("%q: member %q is %q, want %q", b, name, got[name], value)
			}
		}
	})
}

func BenchmarkReadBatchAnswer(b *testing.B) {
	event := `{"id":4821,"key_id":"bench-key-1","event_type":"signing_request","severity":"nominal","source_ip":"10.0.0.1",` +
		`"actor":"service-account@treasury.example","details":{"amount_usd":12.50,"destination":"0x01"},` +
		`"created_at":"2026-04-05T12:34:00.000Z","alerts_triggered":0,"evaluated":true,"score":0}`
	body := []byte(`{"success":true,"count":100,"events":[` + strings.Repeat(event+",", 99) + event + `],"alerts_triggered":0}`)
	var a answer
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !a.read(body, true) {
			b.Fatal("cannot read")
		}
	}
}
