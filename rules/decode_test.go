package rules

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"keypulse/schema"
)

func TestParseJSON(t *testing.T) {
	r, err := ParseJSON([]byte(`{"id": "export-burst", "name": "Many exports", "when": "true", "severity": "critical"}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Score != 0 || r.Dedup != 15*time.Minute || !r.Enabled || r.Mode != Live || r.Message != "Many exports" || r.Severity != schema.Critical {
		t.Errorf("defaults: %+v", r)
	}
	text, err := json.Marshal(r)
	want := `{"id":"export-burst","name":"Many exports","when":"true","severity":"critical","score":0,"dedup":"15m",` +
		`"message":"Many exports","enabled":true,"mode":"live"}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
	full := `{"id":"a","name":"n","when":"1 \u003c 2","severity":"nominal","score":100,"dedup":"1h30m","message":"{{actor}}","enabled":false,"mode":"shadow","tests":[{"x":[1,null]}]}`
	if r, err = ParseJSON([]byte(full)); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(r); err != nil || string(text) != full {
		t.Errorf("%s, %v\nwant %s", text, err, full)
	}
	var again Rule
	if err := json.Unmarshal(text, &again); err != nil || again.When != r.When {
		t.Errorf("unmarshal: %+v, %v", again, err)
	}
}

func TestDedup(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		r, err := ParseJSON([]byte(`{"id":"a","name":"n","when":"true","severity":"warning","dedup":` + text + `}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := FormatDuration(r.Dedup); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	f(`0`, "0s")
	f(`"0"`, "0s")
	f(`"0s"`, "0s")
	f(`"15m"`, "15m")
	f(`"15m0s"`, "15m")
	f(`"1d"`, "24h")
	f(`"90s"`, "1m30s")
	f(`"1500ms"`, "1s500ms")
}

func TestParseJSONRefuses(t *testing.T) {
	const good = `"id": "a", "name": "n", "when": "true", "severity": "warning"`
	f := func(text, field, message string) {
		t.Helper()
		_, err := ParseJSON([]byte(text))
		var errs Errors
		if !errors.As(err, &errs) {
			t.Errorf("%s: %v", text, err)
			return
		}
		if errs[0].Field != field || !strings.Contains(errs[0].Message, message) {
			t.Errorf("%s: %+v", text, errs)
		}
	}
	f(`{`+good+`, "wen": 1}`, "wen", `(did you mean "when"?)`)
	f(`{`+good+`, "Score": 1}`, "Score", `no such field`)
	f(`{`+good+`, "id": "b"}`, "id", `comes twice`)
	f(`{`+good+`, "score": 101}`, "score", `0 to 100`)
	f(`{`+good+`, "score": 1.5}`, "score", `integer`)
	f(`{`+good+`, "score": null}`, "score", `integer`)
	f(`{`+good+`, "dedup": "soon"}`, "dedup", `duration`)
	f(`{`+good+`, "dedup": 15}`, "dedup", `duration`)
	f(`{`+good+`, "dedup": "-1s"}`, "dedup", `duration`)
	f(`{`+good+`, "dedup": "99999999999d"}`, "dedup", `duration`)
	f(`{`+good+`, "enabled": "yes"}`, "enabled", `true or false`)
	f(`{`+good+`, "mode": "dark"}`, "mode", `live or shadow`)
	f(`{`+good+`, "message": "`+strings.Repeat("é", 1001)+`"}`, "message", `1000 characters`)
	f(`{`+good+`, "score": -1}`, "score", `0 to 100`)
	f(`{`+good+`, "dedup": "400d1ms"}`, "dedup", `from 0s to 400d`)
	f(`{`+good+`, "mode": "Live"}`, "mode", `live or shadow`)
	f(`{"id": "`+strings.Repeat("a", 65)+`", "name": "n", "when": "true", "severity": "warning"}`, "id", `1 to 64`)
	f(`{"id": "", "name": "n", "when": "true", "severity": "warning"}`, "id", `1 to 64`)
	f(`{"id": "a_b", "name": "n", "when": "true", "severity": "warning"}`, "id", `a-z`)
	f(`{"id": "a", "name": "`+strings.Repeat("é", 201)+`", "when": "true", "severity": "warning"}`, "name", `1 to 200`)
	f(`{"id": "a", "name": "n", "when": "true", "severity": "Warning"}`, "severity", `nominal, warning or critical`)
	f(`{"id": "A", "name": "n", "when": "true", "severity": "warning"}`, "id", `a-z`)
	f(`{"id": "a", "name": "n", "when": "true", "severity": "warn"}`, "severity", `nominal, warning or critical`)
	f(`{"id": "a", "name": "n", "when": "true"}`, "severity", `nominal, warning or critical`)
	f(`{"id": "a", "when": "true", "severity": "warning"}`, "name", `1 to 200`)
	f(`{"id": "a", "name": "n", "severity": "warning"}`, "when", `missing`)
	f(`{"id": 1, "name": "n", "when": "true", "severity": "warning"}`, "id", `string`)
	f(`[]`, "", `object`)
	f(`{`+good+``, "", `ends too early`)
	f(`{`+good+`} 1`, "", `more after`)
	f(``, "", `ends too early`)
	f("{\"id\": \"\xff\"}", "", `UTF-8`)
}

// TestLargestRule has every field at its limit.
func TestLargestRule(t *testing.T) {
	r := ruleWhen(strings.Repeat("z-9", 21)+"a", strings.Repeat(" ", MaxExpression-4)+"true")
	r.Name, r.Message, r.Score, r.Dedup = strings.Repeat("é", MaxName), strings.Repeat("é", MaxMessage), MaxScore, MaxDedup
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	mustCompile(t, again)
	if !reflect.DeepEqual(again, r) {
		t.Errorf("read again: %+v", again)
	}
}

func TestParseYAML(t *testing.T) {
	list, err := ParseYAML("rules.yaml", []byte(`# two documents, one with a list
id: export-burst               # a comment
name: Many exports in a short time
when: event_type == "export" && count("10m", event_type == "export") > 3
severity: critical
score: 40
dedup: 15m
message: "{{key_id}}: {{count(\"10m\", event_type == \"export\")}} exports in 10 minutes"
enabled: true
mode: live
tests: [{at: 1, events: [a, b]}]
---
- id: two
  name: Two
  when: |
    event_type == "a"
      && actor != ""
  severity: nominal
- {id: three, name: Three, when: "true", severity: warning, dedup: 0, enabled: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[0].ID != "export-burst" || list[1].ID != "two" || list[2].ID != "three" {
		t.Fatalf("%+v", list)
	}
	if list[0].Message != `{{key_id}}: {{count("10m", event_type == "export")}} exports in 10 minutes` || string(list[0].Tests) != `[{"at":1,"events":["a","b"]}]` {
		t.Errorf("%+v %s", list[0], list[0].Tests)
	}
	if list[2].Dedup != 0 || list[2].Enabled {
		t.Errorf("%+v", list[2])
	}
}

func TestParseYAMLErrors(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := ParseYAML("r.yaml", []byte(text))
		var errs Errors
		if !errors.As(err, &errs) {
			t.Errorf("%s: %v", text, err)
			return
		}
		if len(errs) != len(want) {
			t.Errorf("%s: %d errors, want %d: %v", text, len(errs), len(want), err)
			return
		}
		for i, w := range want {
			if got := errs[i].Error(); !strings.HasPrefix(got, w) {
				t.Errorf("%s:\n%s\nwant %s", text, got, w)
			}
		}
	}
	const head = "id: a\nname: n\nseverity: warning\n"
	f(head+"when: event_typ == \"x\"\n", `r.yaml:4:7: when: the event has no field "event_typ"`)
	f(head+"when: 'true && foo()'\n", `r.yaml:4:16: when: there is no function "foo"`)
	f(head+"when: |\n  true &&\n    foo()\n", `r.yaml:6:5: when: there is no function "foo"`)
	f(head+"when: >\n  true &&\n  foo()\n", `r.yaml:4:7: when: there is no function "foo"`)
	f(head+"when: \"true\"\nmessage: \"{{key}}\"\n", `r.yaml:5:13: message: the event has no field "key"`)
	f(head+"when: \"true\"\nscor: 1\n", `r.yaml:5:1: scor: there is no such field (did you mean "score"?)`)
	f(head+"when: \"true\"\nname: b\n", `r.yaml:5:1: name: the field comes twice`)
	f(head, `r.yaml:1:1: when: is missing`)
	f(head+"when: \"true\"\n---\n"+head+"when: \"true\"\n", `r.yaml:6:1: id: the rule a is in line 1 already`)
	f("- 1\n- 2\n", `r.yaml:1:3: a rule is a mapping`, `r.yaml:2:3: a rule is a mapping`)
	f("id: &x a\nname: *x\n", `r.yaml:1:5: id: anchors`)
	f("id: [\n", `r.yaml:1:5: `)
	f("# nothing\n", `r.yaml: there is no rule in the file`)
}

func TestDurations(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	f("30s", 30*time.Second)
	f("5m", 5*time.Minute)
	f("24h", 24*time.Hour)
	f("30d", 30*24*time.Hour)
	f("1d12h30m5s1ms", 36*time.Hour+30*time.Minute+5*time.Second+time.Millisecond)
	for _, bad := range []string{"", "5", "m", "-5m", "5m5m", "5s5m", "1.5h", "5 m", "99999999999999999999s", "106752d", "1us"} {
		if d, err := ParseDuration(bad); err == nil {
			t.Errorf("%q is %v", bad, d)
		}
	}
}
