package rules

import (
	"testing"
	"time"

	"keypulse/schema"
)

func TestCompleteFrom(t *testing.T) {
	const minute = schema.Millis(60_000)
	l := bookLog{t, NewBook()}
	put := func(at schema.Millis, id, when string, version int64, enabled bool) {
		t.Helper()
		r := ruleWhen(id, when)
		r.Enabled = enabled
		record, err := Record("acme", r, version, "tester", at*minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.put(record); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(at schema.Millis, id string, version int64) {
		t.Helper()
		if err := l.put(schema.RuleRecord{Tenant: "acme", ID: id, Version: version, Deleted: true, At: at * minute}); err != nil {
			t.Fatal(err)
		}
	}
	// want is in minutes, without the delay; -1: null.
	check := func(id string, want schema.Millis) {
		t.Helper()
		v, _ := l.book.Rule("acme", id)
		at, ok := l.book.CompleteFrom("acme", v.Program, 2*time.Second)
		if !ok {
			at = -minute + 2000
		}
		if at != want*minute+2000 {
			t.Errorf("rule %s is complete from %d ms, want minute %d", id, at, want)
		}
	}
	const ten, hour = `count("10m") > 3`, `count("1h") > 3`

	put(100, "plain", `actor == "a"`, 1, true)
	check("plain", -1)
	put(100, "a", ten, 1, true)
	check("a", 110)
	put(105, "a", ten+` && severity == "warning"`, 2, true) // its window lives on
	check("a", 110)
	put(200, "a", ten+` && `+hour, 3, true) // a new one beside it
	check("a", 260)
	put(300, "b", `count("600s") > 5`, 1, true) // the same aggregate, of another rule
	check("b", 110)
	drop(310, "a", 4) // which goes on without it
	check("b", 110)
	put(320, "c", hour, 1, true) // this one ended with its rule
	check("c", 380)
	put(330, "c", hour, 2, false) // switched off, nothing is kept
	check("c", -1)
	put(340, "c", hour, 3, true)
	check("c", 400)
	put(350, "d", hour, 1, false) // one that is off keeps nothing alive
	put(360, "c", ten, 4, true)
	put(370, "d", hour, 2, true)
	check("d", 430)
	check("c", 110)
	put(400, "s", `since_last(event_type == "export") > 5`, 1, true)
	check("s", 400+400*24*60)
	put(500, "s", `since_last(event_type == "export") > 9 && count("2h") > 1`, 2, true)
	check("s", 400+400*24*60)
	if _, ok := l.book.CompleteFrom("other", mustCompile(t, ruleWhen("a", ten)), 0); ok {
		t.Error("a tenant without rules has windows")
	}
}
