package decode

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keypulse/schema"
)

// FuzzDecodeEvent compares decodeEvent with the strict json package and the rules of the API written down a second
// time: both take the same bodies, and read the same event from them.
func FuzzDecodeEvent(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{` + required + `}`, `{` + required + `} x`, `{` + required + `,"details":{"a":[1e400,{}],"b":"\ud83d\ude00"}}`,
		`{` + required + `,"details":{"a":1,"a":2}}`, `{` + required + `,"details":{"a":"\ud800"}}`, `{` + required + `,"details":null}`,
		`{` + required + `,"source_ip":"::ffff:1.2.3.4","actor":"a","event_id":"1"}`, `{` + required + `,"source_ip":"fe80::1%0"}`,
		`{` + required + `,"key\u005fid":"x"}`, `{"Key_id":"k","event_type":"e","severity":"nominal"}`,
		"{" + required + ",\"actor\":\"\xff\"}", `{` + required + `,"actor":"\u0000"}`, `{` + required + `,"details":{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, ok := oracle(body)
		sent := bytes.Clone(body)
		got, errs := decodeEvent(body)
		if !bytes.Equal(sent, body) {
			t.Fatal("the body was changed")
		}
		if (errs == nil) != ok {
			t.Fatalf("errors %v, the strict package takes it: %v", errs, ok)
		}
		for _, e := range errs {
			if !utf8.ValidString(e.Field) || e.Message == "" {
				t.Errorf("error %+v cannot be told", e)
			}
		}
		if ok && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
}

// FuzzDecodeBatch says that a batch of one takes exactly the events that a single POST takes.
func FuzzDecodeBatch(f *testing.F) {
	f.Add([]byte(`{` + required + `}`))
	f.Add([]byte(`3`))
	f.Add([]byte(`{"details":{"a":1,"a":2}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		single, singleErrs := decodeEvent(body)
		batch, batchErrs := decodeBatch(fmt.Appendf(nil, `{"events":[%s]}`, body), 1)
		if (singleErrs == nil) != (batchErrs == nil) {
			t.Fatalf("single %v, batch %v", singleErrs, batchErrs)
		}
		if singleErrs == nil && fmt.Sprintf("%+v", single) != fmt.Sprintf("%+v", batch[0]) {
			t.Errorf("single %+v\nbatch %+v", single, batch[0])
		}
	})
}

// oracle decodes an event with package json.
func oracle(body []byte) (schema.Event, bool) {
	var m struct {
		KeyID    *string        `json:"key_id"`
		Type     *string        `json:"event_type"`
		Severity *string        `json:"severity"`
		SourceIP *string        `json:"source_ip"`
		Actor    *string        `json:"actor"`
		Details  jsontext.Value `json:"details"`
		EventID  *string        `json:"event_id"`
	}
	err := json.Unmarshal(body, &m, json.RejectUnknownMembers(true))
	if err != nil || m.KeyID == nil || m.Type == nil || m.Severity == nil {
		return schema.Event{}, false
	}
	ok := true
	e := schema.Event{KeyID: *m.KeyID, Type: *m.Type}
	for _, s := range []*string{m.KeyID, m.Type, m.Actor} {
		ok = ok && (s == nil || len(*s) >= 1 && len(*s) <= 256 && !strings.Contains(*s, "\x00"))
	}
	severity, known := schema.ParseSeverity(*m.Severity)
	e.Severity, ok = severity, ok && known
	if m.Actor != nil {
		e.Actor = *m.Actor
	}
	if m.SourceIP != nil {
		addr, err := netip.ParseAddr(*m.SourceIP)
		ok = ok && err == nil && addr.Zone() == ""
		e.SourceIP = addr.Unmap().String()
	}
	if m.EventID != nil {
		n := len([]rune(*m.EventID))
		ok = ok && n >= 1 && n <= 128 && !strings.Contains(*m.EventID, "\x00")
		e.EventID, e.OwnID = *m.EventID, true
	}
	if m.Details != nil && m.Details.Kind() != 'n' {
		ok = ok && m.Details.Kind() == '{' && len(m.Details) <= 16<<10 && levels(m.Details) <= 32
		e.Details = m.Details
	}
	return e, ok
}

// levels asks the tokenizer how deep a value is.
func levels(v jsontext.Value) int {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	deepest := 0
	for {
		if _, err := dec.ReadToken(); err != nil {
			return deepest
		}
		deepest = max(deepest, dec.StackDepth())
	}
}
