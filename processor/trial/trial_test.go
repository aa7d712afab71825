package trial

import (
	"errors"
	"strings"
	"testing"

	"keypulse/rules"
)

const burst = `id: burst
name: Burst
when: event_type == "export" && count("10m", event_type == "export") > 2
severity: critical
score: 40
message: '{{key_id}}: {{count("10m", event_type == "export")}} exports'
mode: shadow
enabled: false
tests:
  - name: a test
`

// TestTests runs tests that pass and tests that fail, and looks at what they say.
func TestTests(t *testing.T) {
	f := func(body string, difference ...string) {
		t.Helper()
		text := burst + "    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n---\n" +
			"{id: other, name: Other, when: 'event_type == \"export\"', severity: nominal, score: 5, dedup: 1h}\n"
		list, tests, err := Parse("burst.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		result, err := tests[0].Run(list)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if want := strings.Join(difference, "\n"); result.Difference != want {
			t.Errorf("%s\n%s\nwant\n%s", body, result.Difference, want)
		}
	}
	f(`
event: {event_type: export}
events:
  - {at: 0s}
  - {at: 1m}
  - {at: 3m}
alerts: 1`)
	f(`
event: {event_type: export}
events: [{repeat: 5, every: 1m}]
alerts: [{at: 2m, key_id: key-1, rule: burst, severity: critical, message: 'key-1: 3 exports', hits: 3, score: 40}]`)
	f(`
event: {event_type: export, severity: warning}
events: [{repeat: 3, every: 1m}]
with: [other]
alerts:
  - {at: 0s, rule: other, message: Other, hits: 3, score: 15}
  - {at: 2m, rule: burst, score: 55}`)
	f(`
event: {event_type: export}
events:
  - {repeat: 2, every: 5m}
  - {at: 2026-01-05T12:10:00Z}
alerts: 0`)
	f(`
start: 2026-01-05T12:00:00+02:00
events:
  - {event_type: export, event_id: one, repeat: 9, every: 1s}
  - {event_type: export, event_id: 'two-{n}', repeat: 2, every: 1s}
alerts: [{at: 2026-01-05T10:00:09Z, hits: 1}]`)
	f(`
event: {event_type: export}
events: [{repeat: 3, every: 1m}]
alerts: []`,
		`alert 1 is not expected: at 2m, rule burst, key_id key-1, severity critical, message "key-1: 3 exports", hits 1, score 40`)
	f(`
events: [{}]
alerts: 2`,
		`expected 2 alerts, came 0`)
	f(`
event: {event_type: export}
events: [{repeat: 3, every: 1m}]
alerts: [{at: 1m, hits: 2, message: ""}, {at: 4m}]`,
		`alert 1: at: expected 1m, came 2m`,
		`alert 1: message: expected "", came "key-1: 3 exports"`,
		`alert 1: hits: expected 2, came 1`,
		`alert 2 is missing: at 4m`)
}

// TestRefuses reads what is wrong, and looks at where it says so.
func TestRefuses(t *testing.T) {
	f := func(body string, wanted ...string) {
		t.Helper()
		_, _, err := Parse("r.yaml", []byte("id: r\nname: R\nwhen: 'true'\nseverity: nominal\ntests:\n"+body))
		var errs rules.Errors
		if !errors.As(err, &errs) {
			t.Errorf("%s\n%v", body, err)
			return
		}
		var lines []string
		for _, e := range errs {
			line, _, _ := strings.Cut(e.Error(), "\n")
			lines = append(lines, line)
			if e.Snippet == "" {
				t.Errorf("%s: no snippet", line)
			}
		}
		if got, want := strings.Join(lines, "\n"), strings.Join(wanted, "\n"); got != want {
			t.Errorf("%s\n%s\nwant\n%s", body, got, want)
		}
	}
	f("  - {name: a, events: [{}]}", `r.yaml:6:5: tests[0].alerts: is missing: a number of alerts, or a list of them`)
	f("  - {events: [{}], alerts: 0}", `r.yaml:6:5: tests[0].name: is missing: what the rule does then`)
	f("  - {name: a, alerts: 0}", `r.yaml:6:5: tests[0].events: is missing: a list of events`)
	f("  - {name: a, nme: b}", `r.yaml:6:15: tests[0].nme: there is no such member; `+testMembers)
	f("  - name: a\n    events:\n      - {at: 1m}\n      - {key: k}", `r.yaml:9:10: tests[0].events[1].key: there is no such member; `+eventMembers)
	f("  - name: a\n    alerts:\n      - att: k", `r.yaml:8:9: tests[0].alerts[0].att: there is no such member; `+alertMembers)
	f("  - name: a\n    event: {Actor: k}", `r.yaml:7:13: tests[0].event.Actor: there is no such member; `+eventMembers)
	f("  - name: a\n    events: 1", `r.yaml:7:13: tests[0].events: must be a list of events`)
	f("  - name: a\n    events: [x]", `r.yaml:7:14: tests[0].events[0]: must be a mapping: `+eventMembers)
	f("  - name: a\n    alerts: many", `r.yaml:7:13: tests[0].alerts: must be a number of alerts, or a list of them`)
	f("  - name: a\n    alerts: [{hits: many}]", `r.yaml:7:21: tests[0].alerts[0].hits: must be an integer of at least 1`)
	f("  - name: a\n    name: b", `r.yaml:7:5: tests[0].name: the member comes twice`)
	f("  - name: 7", `r.yaml:6:11: tests[0].name: must be a text`)
	f("  {a: b}", `r.yaml:6:3: tests: must be a list of tests`)
	f("  - name: a\n    alerts: -1\n    start: noon\n    event: {at: 1m}\n    events:\n"+
		"      - {at: later}\n      - {every: 1m}\n      - {repeat: 0, every: 1s}\n      - {repeat: 2}\n      - {severity: high}\n"+
		"      - {source_ip: here}\n      - {details: [1]}\n      - {actor: ''}\n      - {repeat: 100000, every: 1s}",
		`r.yaml:8:12: tests[0].start: must be an RFC 3339 time`,
		`r.yaml:9:17: tests[0].event.at: belongs to each of the events`,
		`r.yaml:11:14: tests[0].events[0].at: must be an offset such as "3m", or an RFC 3339 time`,
		`r.yaml:12:17: tests[0].events[1].every: goes with repeat`,
		`r.yaml:13:18: tests[0].events[2].repeat: must be an integer from 1 to 100000, and a test has at most as many events`,
		`r.yaml:14:9: tests[0].events[3].every: is missing: a duration such as "30s" goes with repeat`,
		`r.yaml:15:20: tests[0].events[4].severity: must be nominal, warning or critical`,
		`r.yaml:16:21: tests[0].events[5].source_ip: must be an IPv4 or IPv6 address, without a zone`,
		`r.yaml:17:19: tests[0].events[6].details: must be a mapping`,
		`r.yaml:18:17: tests[0].events[7].actor: must have 1 to 256 bytes`,
		`r.yaml:19:18: tests[0].events[8].repeat: must be an integer from 1 to 100000, and a test has at most as many events`,
		`r.yaml:7:13: tests[0].alerts: must be at least 0`)
}

// TestOf reads the tests of a rule that is in no file.
func TestOf(t *testing.T) {
	r := rules.Rule{ID: "r", Tests: []byte(`[{"name":"a","events":[{"at":"soon"}],"alerts":0}]`)}
	if _, err := Of(r); err == nil || err.Error() != `tests[0].events[0].at: `+wantTime {
		t.Errorf("%v", err)
	}
	r.Tests = []byte(`[{"name":"a","with":["b"],"events":[{}],"alerts":0}]`)
	tests, err := Of(r)
	if err != nil || len(tests) != 1 {
		t.Fatalf("%v %v", tests, err)
	}
	if _, err := tests[0].Run(nil); err == nil || err.Error() != `test "a" of rule r: there is no rule r in the files` {
		t.Errorf("%v", err)
	}
}
