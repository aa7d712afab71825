package decode

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

func TestDecodeEvent(t *testing.T) {
	f := func(body string, want schema.Event) {
		t.Helper()
		got, errs := decodeEvent([]byte(body))
		if errs != nil {
			t.Fatalf("%s: errors %v", body, errs)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s:\n got %+v\nwant %+v", body, got, want)
		}
	}
	f(`{"key_id":"k","event_type":"export","severity":"nominal"}`,
		schema.Event{KeyID: "k", Type: "export", Severity: schema.Nominal})
	f(` { "severity" : "critical", "details":{ "a" : [1.0, 1e400, "}\"{"], "ä":null }, "actor":"a@b.c",`+
		`"source_ip":"::FFFF:10.0.0.1","event_id":"ü1","event_type":"e","key_id":"k/\u00e9" }`+"\r\n\t ",
		schema.Event{
			KeyID: "k/é", Type: "e", Severity: schema.Critical, SourceIP: "10.0.0.1", Actor: "a@b.c",
			Details: []byte(`{ "a" : [1.0, 1e400, "}\"{"], "ä":null }`), EventID: "ü1", OwnID: true,
		})
	f(`{"key_id":"k","event_type":"e","severity":"warning","source_ip":"2001:DB8:0:0::1"}`,
		schema.Event{KeyID: "k", Type: "e", Severity: schema.Warning, SourceIP: "2001:db8::1"})
	f(`{"key_id":"k","event_type":"e","severity":"warning","source_ip":null,"actor":null,"details":null,"event_id":null}`,
		schema.Event{KeyID: "k", Type: "e", Severity: schema.Warning})
	f(`{"key\u005fid":"k","event_type":"e","severity":"\u0077arning","details":{}}`,
		schema.Event{KeyID: "k", Type: "e", Severity: schema.Warning, Details: []byte(`{}`)})
	f(`{"key_id":"`+strings.Repeat("k", 256)+`","event_type":"\ud83d\ude00","severity":"nominal","event_id":"`+strings.Repeat("é", 128)+`"}`,
		schema.Event{
			KeyID: strings.Repeat("k", 256), Type: "😀", Severity: schema.Nominal,
			EventID: strings.Repeat("é", 128), OwnID: true,
		})
	deep := strings.Repeat(`{"a":`, 31) + `[]` + strings.Repeat(`}`, 31)
	f(`{"key_id":"k","event_type":"e","severity":"nominal","details":`+deep+`}`,
		schema.Event{KeyID: "k", Type: "e", Severity: schema.Nominal, Details: []byte(deep)})
}

// required is an event's required members, to put others behind.
const required = `"key_id":"k","event_type":"e","severity":"nominal"`

func TestDecodeEventErrors(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		_, errs := decodeEvent([]byte(body))
		compareErrors(t, body, errs, want)
	}
	optional := func(member string) string { return `{` + required + `,` + member + `}` }

	f(`{}`, "key_id: is required", "event_type: is required", "severity: is required")
	f(`{"KEY_ID":"k","severitty":"x","\u017feverity":"nominal","event_type":1}`,
		`KEY_ID: unknown field, did you mean "key_id"?`, `severitty: unknown field, did you mean "severity"?`,
		`ſeverity: unknown field, did you mean "severity"?`, "event_type: must be a string",
		"key_id: is required", "severity: is required")
	f(`{"zzz":{"a":[1]}}`, "zzz: unknown field", "key_id: is required", "event_type: is required", "severity: is required")
	f(`{"key_id":null,"event_type":[],"severity":"Nominal"}`, "key_id: must be a string", "event_type: must be a string",
		"severity: must be nominal, warning or critical")
	f(`{"key_id":"","event_type":"a\u0000b","severity":""}`, "key_id: must be 1 to 256 bytes long, not 0",
		"event_type: must not contain U+0000", "severity: must be nominal, warning or critical")
	f(optional(`"actor":""`), "actor: must be 1 to 256 bytes long, not 0")
	f(optional(`"actor":"`+strings.Repeat("é", 129)+`"`), "actor: must be 1 to 256 bytes long, not 258")
	f(optional(`"actor":false`), "actor: must be a string")
	f(optional(`"source_ip":""`), "source_ip: must be an IPv4 or IPv6 address")
	f(optional(`"source_ip":"10.0.0.256"`), "source_ip: must be an IPv4 or IPv6 address")
	f(optional(`"source_ip":"10.0.0.0/8"`), "source_ip: must be an IPv4 or IPv6 address")
	f(optional(`"source_ip":"fe80::1%eth0"`), "source_ip: must be an address without a zone")
	f(optional(`"event_id":""`), "event_id: must be 1 to 128 characters long, not 0")
	f(optional(`"event_id":"`+strings.Repeat("é", 129)+`"`), "event_id: must be 1 to 128 characters long, not 129")
	f(optional(`"event_id":"a\u0000"`), "event_id: must not contain U+0000")
	f(optional(`"details":[]`), "details: must be an object")
	f(optional(`"details":"{}"`), "details: must be an object")
	f(optional(`"details":`+strings.Repeat(`{"a":`, 32)+`[]`+strings.Repeat(`}`, 32)), "details: must be at most 32 levels deep")
	f(optional(`"details":{"a":"`+strings.Repeat("x", 16<<10)+`"}`), "details: must be at most 16384 bytes long, not 16392")
	f(optional(`"created_at":"2026-04-05T12:34:00.000Z"`), "created_at: unknown field")
	f(optional(`"`+strings.Repeat("x", 100)+`":1`), strings.Repeat("x", 64)+"…: unknown field")
}

func TestDecodeEventRefusesWhatIsNotStrictJSON(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		_, errs := decodeEvent([]byte(body))
		compareErrors(t, body, errs, []string{want})
	}
	f(``, ": line 1, column 1: unexpected end of JSON")
	f(`null`, ": expected a JSON object")
	f(`[{`+required+`}]`, ": expected a JSON object")
	f("{\n"+required+",\n  \"actor\": x}", `: line 3, column 12: invalid character 'x' at start of value`)
	f(`{`+required, ": line 1, column 52: unexpected end of JSON")
	f(`{`+required+`,}`, `: line 1, column 52: invalid character ',' at start of value`)
	f(`{`+required+`} {}`, ": line 1, column 54: unexpected data after the JSON object")
	f(`{`+required+`}`+"\x00", ": line 1, column 53: unexpected data after the JSON object")
	f("\ufeff{"+required+`}`, `: line 1, column 1: invalid character '\ufeff' at start of value`)
	f(`{"key_id":"a","key_id":"b"}`, "key_id: line 1, column 15: the name stands more than once in its object")
	f(`{"key_id":"a","key\u005fid":"b"}`, "key_id: line 1, column 15: the name stands more than once in its object")
	f(`{"zz":1,"zz":2}`, "zz: line 1, column 9: the name stands more than once in its object")
	f(`{"details":{"a":{"b":1,"b":2}}}`, "details.a.b: line 1, column 24: the name stands more than once in its object")
	f("{\"key_id\":\"\xff\"}", ": line 1, column 12: invalid UTF-8")
	f("{\"details\":{\"a\":\"\xc0\xaf\"}}", ": line 1, column 18: invalid UTF-8")
	f(`{"details":{"a":"\ud800"}}`, `: line 1, column 18: invalid surrogate pair `+"`\\ud800\"}}`"+` in string`)
	f(`{"key_id":"\udc00"}`, `: line 1, column 12: invalid surrogate pair `+"`\\udc00\"}`"+` in string`)
	f(`{"details":{"a":01}}`, `: line 1, column 18: invalid character '1' after object value (expecting ',' or '}')`)
	f(`{"details":{"a":NaN}}`, `: line 1, column 17: invalid character 'N' at start of value`)
	f("{\"key_id\":\"a\nb\"}", `: line 1, column 13: invalid character '\n' in string (expecting non-control character)`)
}

func TestDecodeEventTellsABoundedNumberOfErrors(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"a0":0`)
	for i := range 10_000 {
		fmt.Fprintf(&b, `,"b%d":0`, i)
	}
	b.WriteString(`}`)
	if _, errs := decodeEvent([]byte(b.String())); len(errs) != maxEventErrors {
		t.Errorf("%d errors, want %d", len(errs), maxEventErrors)
	}
}

func TestDecodeBatch(t *testing.T) {
	one := `{` + required + `}`
	f := func(body string, want int) {
		t.Helper()
		events, errs := decodeBatch([]byte(body), 100)
		if errs != nil || len(events) != want {
			t.Errorf("%.80s: %d events, %v; want %d events", body, len(events), errs, want)
		}
	}
	f(`{"events":[`+one+`]}`, 1)
	f(` {"events" : [ `+strings.Repeat(one+` , `, 99)+one+` ] } `, 100)

	events, _ := decodeBatch([]byte(`{"events":[{"key_id":"a",`+required[len(`"key_id":"k",`):]+`},`+one+`]}`), 100)
	if events[0].KeyID != "a" || events[1].KeyID != "k" {
		t.Errorf("order of the events: %v", events)
	}
}

func TestDecodeBatchErrors(t *testing.T) {
	one := `{` + required + `}`
	f := func(body string, want ...string) {
		t.Helper()
		events, errs := decodeBatch([]byte(body), 100)
		if events != nil {
			t.Errorf("%s: %d events beside the errors", body, len(events))
		}
		compareErrors(t, body, errs, want)
	}
	f(`{"events":[`+one+`,{"key_id":7},`+one+`,3,{`+required+`,"actr":1}]}`,
		"1.key_id: must be a string", "1.event_type: is required", "1.severity: is required",
		"3.: expected a JSON object", `4.actr: unknown field, did you mean "actor"?`)
	f(`{"events":[`+one+`,{"details":{"a":1,"a":2}}]}`,
		"1.details.a: line 1, column 83: the name stands more than once in its object")

	f(``, ": line 1, column 1: unexpected end of JSON")
	f(`[`+one+`]`, ": expected a JSON object")
	f(`{"events":[`+one+`]`, ": line 1, column 65: unexpected end of JSON")
	f(`{"events":[`+one+`]}x`, ": line 1, column 66: unexpected data after the JSON object")
	f(`{}`, "events: is required")
	f(`{"events":[]}`, "events: must hold 1 to 100 events, not 0")
	f(`{"events":[`+strings.Repeat(one+`,`, 100)+`0]}`, "events: must hold 1 to 100 events, not 101")
	f(`{"events":{}}`, "events: must be an array")
	f(`{"events":null}`, "events: must be an array")
	f(`{"event":[`+one+`]}`, `event: unknown field, did you mean "events"?`, "events: is required")
	f(`{"events":[0],"x":1}`, "x: unknown field")
	f(`{"events":[`+one+`],"events":[]}`, "events: line 1, column 66: the name stands more than once in its object")
}

func TestNamesInLargeObjects(t *testing.T) {
	object := func(n int, extra string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"n%d":{"n0":%d},`, i, i)
		}
		return `{` + required + `,"details":{` + b.String() + `"o":{` + strings.ReplaceAll(b.String(), "n", "m") + `"z":0}` + extra + `}}`
	}
	for _, n := range []int{1, fewNames - 2, fewNames - 1, fewNames, fewNames + 1, 200} {
		if _, errs := decodeEvent([]byte(object(n, ``))); errs != nil {
			t.Errorf("%d names: %v", n, errs)
		}
		for _, again := range []string{"n0", "o", fmt.Sprint("n", n-1), `\u006e0`} {
			if _, errs := decodeEvent([]byte(object(n, fmt.Sprintf(`,"%s":1`, again)))); len(errs) != 1 || !strings.Contains(errs[0].Message, "more than once") {
				t.Errorf("%d names, %s again: %v", n, again, errs)
			}
		}
	}
}

func TestLines(t *testing.T) {
	d := Open(nil)
	defer d.Close()
	for i, line := range []string{`{` + required + `}`, ` `, `{"key_id":1}`, `{` + required + `} `, `{` + required + `}}`, `{"details":{"a":1,"a":2}}`} {
		if ok := d.Line([]byte(line), 1001+i); ok != (i == 0 || i == 3) {
			t.Errorf("line %q: %v", line, ok)
		}
	}
	_, errs := d.Lines()
	compareErrors(t, "lines", errs, []string{
		"1002.: the line is empty",
		"1003.key_id: must be a string", "1003.event_type: is required", "1003.severity: is required",
		"1005.: line 1005, column 53: unexpected data after the JSON object",
		"1006.details.a: line 1006, column 19: the name stands more than once in its object",
	})
}

func TestDecodingAllocatesNothing(t *testing.T) {
	body := []byte(benchBatch)
	d := Open(nil)
	defer d.Close()
	if n := testing.AllocsPerRun(100, func() {
		d.body, d.line = body, 1
		if _, errs := d.Batch(100); errs != nil {
			t.Fatal(errs)
		}
		d.Reset()
	}); n != 0 {
		t.Errorf("%v allocations for a batch of 100 events, want 0", n)
	}
}

// compareErrors compares errors, written "index.field: message" or "field: message", with want.
func compareErrors(t *testing.T, body string, errs []httpapi.FieldError, want []string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		prefix := ""
		if e.Index != nil {
			prefix = fmt.Sprintf("%d.", *e.Index)
		}
		got = append(got, prefix+e.Field+": "+e.Message)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%.100s:\n got %s\nwant %s", body, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// decodeEvent is Event, with a copy of the event that outlives the decoder.
func decodeEvent(body []byte) (schema.Event, []httpapi.FieldError) {
	d := Open(body)
	defer d.Close()
	events, errs := d.Event()
	if errs != nil {
		return schema.Event{}, errs
	}
	return clone(events[0]), nil
}

// decodeBatch is Batch, with copies of the events.
func decodeBatch(body []byte, limit int) ([]schema.Event, []httpapi.FieldError) {
	d := Open(body)
	defer d.Close()
	events, errs := d.Batch(limit)
	if errs != nil {
		return nil, errs
	}
	all := make([]schema.Event, len(events))
	for i := range events {
		all[i] = clone(events[i])
	}
	return all, nil
}

func clone(e schema.Event) schema.Event {
	for _, s := range []*string{&e.KeyID, &e.Type, &e.SourceIP, &e.Actor, &e.EventID} {
		*s = strings.Clone(*s)
	}
	e.Details = bytes.Clone(e.Details)
	return e
}
