package openapitest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	d := Load()
	ids := map[string]bool{}
	for _, op := range d.Operations {
		where := op.Method + " " + op.Path
		if op.ID == "" || ids[op.ID] {
			t.Errorf("%s: operationId %q is missing, or another operation's, too", where, op.ID)
		}
		ids[op.ID] = true
		if op.raw["summary"] == nil || op.raw["tags"] == nil {
			t.Errorf("%s has no summary, or no tag", where)
		}
		public := op.Path == "/api/stats" || op.Path == "/api/session" && op.Method != "GET"
		if keyed := op.AnyKey || op.Scope != ""; keyed != (strings.HasPrefix(op.Path, "/api/") && !public) {
			t.Errorf("%s: needs a key: %v", where, keyed)
		}
		for _, p := range op.parameters {
			if p.in == "path" && (!p.required || !strings.Contains(op.Path, "{"+p.name+"}")) {
				t.Errorf("%s: the path's parameter %s is not required, or not in the path", where, p.name)
			}
		}
	}
}

// TestExamples wants every body to have an example, and every example to be valid, with no member that is not stated.
func TestExamples(t *testing.T) {
	check := func(at string, media any, s *schema) {
		t.Helper()
		all := samples(media.(object))
		if len(all) == 0 {
			t.Errorf("%s has no example", at)
		}
		for _, v := range all {
			if err := s.Validate(v); err != nil {
				t.Errorf("an example of %s is not valid: %v", at, err)
			}
		}
	}
	d := Load()
	seen := map[string]bool{}
	for _, op := range d.Operations {
		for _, p := range op.parameters {
			for _, v := range p.samples {
				if err := p.schema.Validate(v); err != nil {
					t.Errorf("%s %s: an example of %s is not valid: %v", op.Method, op.Path, p.name, err)
				}
			}
		}
		for media, s := range op.bodies {
			check(op.ID+"'s request", op.raw["requestBody"].(object)["content"].(object)[media], s)
		}
		for _, r := range op.responses {
			if seen[r.at] {
				continue
			}
			seen[r.at] = true
			for media, s := range r.content {
				if o, ok := s.raw.(object); media == "application/json" && ok && op.Path != "/openapi.json" && o != nil {
					check(r.at, find(d.root, pointer(r.at, "content", media)), s)
				}
			}
		}
	}
	for name, v := range find(d.root, "#/components/schemas").(object) {
		examples, _ := v.(object)["examples"].([]any)
		for _, example := range examples {
			s := compiled(t, "#/components/schemas/"+name)
			if err := s.Validate(example); err != nil {
				t.Errorf("an example of components › schemas › %s is not valid: %v", name, err)
			}
		}
	}
}

func compiled(t *testing.T, at string) *schema {
	t.Helper()
	r := &reader{root: Load().root}
	c, err := newCompiler(r.root)
	if err != nil {
		t.Fatal(err)
	}
	r.compiler = c
	s := r.schema(asWritten, at)
	if r.err != nil {
		t.Fatal(r.err)
	}
	return s
}

// TestCheckSees changes one thing at a time in an exchange that agrees with the document.
func TestCheckSees(t *testing.T) {
	const body = `{"success":true,"id":31749,"key_id":"treasury-1","event_type":"export","severity":"nominal","source_ip":null,"actor":null,"details":{"a":{}},
		"created_at":"2026-11-23T13:14:12.923Z","alerts_triggered":0,"event_id":"x","score":0,"evaluated":true}`
	good := func() *Exchange {
		return &Exchange{
			Method: http.MethodPost, Target: "/api/events", Header: http.Header{"Content-Type": {"application/json"}},
			Body:   []byte(`{"key_id":"treasury-1","event_type":"export","severity":"nominal","details":{"a":{}}}`),
			Status: 201, Answer: []byte(body), AnswerHeader: http.Header{
				"Content-Type": {"application/json"}, "X-Request-Id": {"r"}, "X-Ratelimit-Limit": {"0"},
			},
		}
	}
	if err := Check(good()); err != nil {
		t.Fatal(err)
	}
	f := func(what string, change func(x *Exchange)) {
		t.Helper()
		x := good()
		change(x)
		if err := Check(x); err == nil {
			t.Errorf("%s: not seen", what)
		}
	}
	replace := func(old, new string) func(*Exchange) {
		if !strings.Contains(body, old) {
			t.Fatalf("%s is not in the body", old)
		}
		return func(x *Exchange) { x.Answer = []byte(strings.Replace(body, old, new, 1)) }
	}
	f("another status", func(x *Exchange) { x.Status = 200 })
	f("another path", func(x *Exchange) { x.Target = "/api/event" })
	f("an unknown member", replace(`"score":0`, `"score":0,"more":1`))
	f("a missing member", replace(`"score":0,`, ``))
	f("a time of another form", replace(`.923Z`, `Z`))
	f("a wrong type", replace(`"score":0`, `"score":"0"`))
	f("a number that JavaScript cannot hold", replace(`31749`, `9007199254740992`))
	f("no JSON", func(x *Exchange) { x.Answer = []byte("ok") })
	f("a body of another type", func(x *Exchange) { x.AnswerHeader.Set("Content-Type", "text/plain") })
	f("a header that is missing", func(x *Exchange) { x.AnswerHeader.Del("X-Ratelimit-Limit") })
	f("a header that is not stated", func(x *Exchange) { x.AnswerHeader.Set("X-More", "1") })
	f("a header of another form", func(x *Exchange) { x.AnswerHeader.Set("X-Ratelimit-Limit", "many") })
	f("success of a body without severity", func(x *Exchange) { x.Body = []byte(`{"key_id":"a","event_type":"b"}`) })
	f("success of an unknown parameter", func(x *Exchange) { x.Target += "?a=1" })
	f("a failure as success", func(x *Exchange) {
		x.Answer = []byte(`{"success":false,"message":"m","code":"internal","request_id":"r"}`)
	})
	f("a code of another status", func(x *Exchange) {
		x.Status, x.Answer = 500, []byte(`{"success":false,"message":"m","code":"conflict","request_id":"r"}`)
	})
	f("another request_id", func(x *Exchange) {
		x.Status, x.Answer = 500, []byte(`{"success":false,"message":"m","code":"internal","request_id":"other"}`)
	})
	f("a wrong Allow", func(x *Exchange) {
		x.Method, x.Status = "DELETE", 405
		x.Answer = []byte(`{"success":false,"message":"m","code":"method_not_allowed","request_id":"r"}`)
		x.AnswerHeader.Set("Allow", "GET, POST")
	})
	if !json.Valid([]byte(body)) {
		t.Error("the body is no JSON")
	}
}
