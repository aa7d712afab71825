package rules

import (
	"os"
	"testing"
	"time"

	"keypulse/schema"
)

// soak is whether the tests run with their full counts (make soak).
var soak = os.Getenv("KEYPULSE_SOAK") == "1"

// ruleWhen returns a valid rule with the condition.
func ruleWhen(id, when string) Rule {
	return Rule{
		ID: id, Name: id, When: when, Severity: schema.Warning, Dedup: 15 * time.Minute, Message: id, Enabled: true, Mode: Live,
	}
}

func mustCompile(t testing.TB, r Rule) *Program {
	t.Helper()
	p, err := Compile(r)
	if err != nil {
		t.Fatalf("compile %s: %v", r.When, err)
	}
	return p
}

// event is the event that most tests look at.
func event() *schema.Event {
	return &schema.Event{
		Tenant: "acme", KeyID: "key-1", Type: "export", Severity: schema.Warning, SourceIP: "10.1.2.3",
		EventID: "e-1", CreatedAt: 1775392440123, // Sunday, 2026-04-05T12:34:00.123Z
		Details: []byte(`{"amount_usd": 12500.5, "n": 7, "one": 1.0, "exp": 1e0, "zero": 0, "ok": true, "off": false,
			"name": "Bob \"B\" \u00e9", "null": null, "tags": ["a", "b", null, 3], "a": {"b": {"c": [1, {"d": 42}]}},
			"huge": 1e999, "big": 9007199254740993, "big2": 9007199254740992, "neg": -3, "empty": {}, "none": [], "k.e\u0079": 5}`),
	}
}

// holds evaluates a condition for the event, its aggregates empty, however long it may take.
func holds(t testing.TB, when string, e *schema.Event) bool {
	t.Helper()
	hit := false
	p, errs := compile(ruleWhen("r", when))
	if len(errs) > 0 {
		t.Fatalf("compile %s: %v", when, errs)
	}
	set := NewSet([]*Program{p})
	if errs := set.Eval(e, Values{}, func(*Program) { hit = true }); errs != 0 {
		t.Fatalf("%s failed while it ran", when)
	}
	return hit
}
