package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"keypulse/schema"
)

func ids(programs []*Program) string {
	var list []string
	for _, p := range programs {
		list = append(list, p.Rule().ID)
	}
	return strings.Join(list, " ")
}

func hits(s *Set, e *schema.Event) string {
	var list []*Program
	s.Eval(e, Values{}, func(p *Program) { list = append(list, p) })
	return ids(list)
}

func TestSetOrderAndModes(t *testing.T) {
	off, shadow := ruleWhen("b", "true"), ruleWhen("c", "true")
	off.Enabled, shadow.Mode = false, Shadow
	s := NewSet([]*Program{
		mustCompile(t, ruleWhen("z", "true")), mustCompile(t, shadow), mustCompile(t, off), mustCompile(t, ruleWhen("a-1", "true")),
		mustCompile(t, ruleWhen("a", `event_type == "export"`)),
	})
	if got := ids(s.Programs()); got != "a a-1 c z" {
		t.Errorf("programs %s", got)
	}
	if got := hits(s, event()); got != "a a-1 c z" {
		t.Errorf("hits %s", got)
	}
}

// TestIndexFindsWhatHolds compares the hits through the index with those of each rule alone.
func TestIndexFindsWhatHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	condition := func() string {
		field := pick("event_type", "severity", "key_id", "actor")
		value := func() string {
			return map[string]func() string{
				"event_type": func() string { return pick(`"export"`, `"rotation"`, `"none"`) },
				"severity":   func() string { return pick(`"nominal"`, `"warning"`, `"critical"`, `"bad"`) },
				"key_id":     func() string { return pick(`"k1"`, `"k2"`, `"k3"`) },
				"actor":      func() string { return pick(`"a1"`, `"a2"`, `""`) },
			}[field]()
		}
		return pick(
			field+" == "+value(), value()+" == "+field, field+" in ["+value()+", "+value()+"]", field+" != "+value(),
			"("+field+" == "+value()+" || "+field+" in ["+value()+"])", "("+field+" == "+value()+" || hour() == 0)",
			"not ("+field+" == "+value()+")", field+` in ["k1", details.x]`,
		)
	}
	var programs []*Program
	for i := range 200 {
		terms := []string{condition()}
		for range r.IntN(3) {
			terms = append(terms, condition())
		}
		programs = append(programs, mustCompile(t, ruleWhen(fmt.Sprintf("r%03d", i), strings.Join(terms, pick(" && ", " and ", " || ")))))
	}
	set := NewSet(programs)
	for range 500 {
		e := &schema.Event{
			KeyID: pick("k1", "k2", "k9"), Type: pick("export", "rotation", "other"), Actor: pick("", "a1", "a9"),
			Severity: schema.Severity(1 + r.IntN(3)), CreatedAt: schema.Millis(r.IntN(100)) * 3_600_000,
		}
		var want []*Program
		for _, p := range programs {
			if hits(NewSet([]*Program{p}), e) != "" && p.when(p.bind(e, Values{})) {
				want = append(want, p)
			}
			if p.when(p.bind(e, Values{})) && !slices.Contains(want, p) {
				t.Fatalf("%s holds for %+v but is not found", p.Rule().When, e)
			}
		}
		if got := hits(set, e); got != ids(want) {
			t.Fatalf("%+v: hits %s, want %s", e, got, ids(want))
		}
	}
}

func TestIndexNeeds(t *testing.T) {
	f := func(when string, want field, values ...string) {
		t.Helper()
		if n := mustCompile(t, ruleWhen("r", when)).needs; n.field != want || !slices.Equal(n.values, values) {
			t.Errorf("%s needs %+v", when, n)
		}
	}
	f(`event_type == "a" && count("1m") > 3`, fieldType, "a")
	f(`severity == "critical" && (event_type in ["a", "b"]) && true`, fieldType, "a", "b")
	f(`event_type == "a" and key_id == "k" and actor == "b"`, fieldKeyID, "k")
	f(`event_type == "a" || event_type == "b"`, fieldType, "a", "b")
	f(`event_type == "a" || actor == "b"`, 0)
	f(`!(event_type == "a")`, 0)
	f(`event_type != "a"`, 0)
	f(`source_ip == "a"`, 0)
}

// TestFailingRuleStopsNoOther breaks a compiled rule on purpose.
func TestFailingRuleStopsNoOther(t *testing.T) {
	bad := mustCompile(t, ruleWhen("b", "true"))
	bad.when = func(*Scope) bool { panic("broken") }
	s := NewSet([]*Program{mustCompile(t, ruleWhen("a", "true")), bad, mustCompile(t, ruleWhen("c", "true"))})
	var list []*Program
	e := event()
	values := NewScope(nil).Begin(s, e)
	errs := s.Eval(e, values, func(p *Program) { list = append(list, p) })
	if errs != 1 || ids(list) != "a c" {
		t.Errorf("%d errors, hits %s", errs, ids(list))
	}
	if got := values.Failures(); len(got) != 1 || got[0] != (Failure{bad, "when: broken"}) {
		t.Errorf("failures %+v", got)
	}
	if values = values.scope.Begin(s, e); len(values.Failures()) != 0 {
		t.Error("a failure outlived its event")
	}
}

// TestFailingPartsOfARule breaks what is evaluated outside of when, on purpose: the windows of an event, the message, the values.
func TestFailingPartsOfARule(t *testing.T) {
	r := ruleWhen("b", `sum("1m", details.n, event_type == "export") >= 0`)
	r.Message = `{{count("1m")}}`
	bad := mustCompile(t, r)
	sharing, other := mustCompile(t, ruleWhen("c", r.When)), mustCompile(t, ruleWhen("d", `count("1m") >= 0`))
	s, e := NewSet([]*Program{bad, sharing, other}), event()
	values := NewScope(nil).Begin(s, e)
	check := func(what string, want ...Failure) {
		t.Helper()
		if got := values.Failures(); !slices.Equal(got, want) {
			t.Errorf("%s: failures %+v, want %+v", what, got, want)
		}
		values = values.scope.Begin(s, e)
	}
	panics := strings.Repeat("é", 200)
	a := s.aggregates[0]
	a.where = func(*Scope) bool { panic("where") }
	if s.Matches(0, values) {
		t.Error("an aggregate whose where fails matches")
	}
	check("where", Failure{bad, a.Text + ": where"}, Failure{sharing, a.Text + ": where"})
	a.value = func(*Scope) Value { panic("value") }
	if !s.ValueOf(0, values).IsNil() {
		t.Error("an aggregate whose value fails has one")
	}
	check("value", Failure{bad, a.Text + ": value"}, Failure{sharing, a.Text + ": value"})
	bad.message = []part{{value: func(*Scope) Value { panic(panics) }}}
	if got := bad.Message(e, values); got != bad.rule.Name {
		t.Errorf("message %q", got)
	}
	check("message", Failure{bad, "message: " + panics[:190]})
	values.scope.aggregate = func(int) Value { panic("values") }
	if got := string(bad.ValuesJSON(values)); got != "{}" {
		t.Errorf("values %s", got)
	}
	check("values", Failure{bad, "values: values"})
}

func TestHitsMayPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the caller's own panic was swallowed")
		}
	}()
	NewSet([]*Program{mustCompile(t, ruleWhen("a", "true"))}).Eval(event(), Values{}, func(*Program) { panic("the caller's") })
}

func TestWorstBytes(t *testing.T) {
	p := mustCompile(t, ruleWhen("r", `count("1h") > 1 && count("60m") > 2 && distinct("1d", actor) > since_last(true)`))
	if n := len(p.Aggregates()); n != 3 {
		t.Errorf("%d aggregates", n)
	}
	if got := p.WorstBytes(); got <= MaxAggregateBytes || got > 3*MaxAggregateBytes {
		t.Errorf("worst bytes %d", got)
	}
	if text, err := json.Marshal(p.Aggregates()[0]); err != nil || string(text) != `{"text":"count(\"1h\")","call":"count","window":"1h","worst_bytes":9216}` {
		t.Errorf("%s, %v", text, err)
	}
}

// TestScopeServesManySets changes the set from event to event, as a partition with several tenants does.
func TestScopeServesManySets(t *testing.T) {
	one := NewSet([]*Program{mustCompile(t, ruleWhen("a", `details.n == 7 && details.one == 1`))})
	two := NewSet([]*Program{mustCompile(t, ruleWhen("b", `details.zero == 0 && details.n == 7 && details.neg == -3`))})
	scope, e := NewScope(nil), event()
	for i := range 6 {
		set := []*Set{one, two}[i%2]
		n := 0
		set.Eval(e, scope.Begin(set, e), func(*Program) { n++ })
		if n != 1 {
			t.Errorf("round %d: %d hits", i, n)
		}
	}
}
