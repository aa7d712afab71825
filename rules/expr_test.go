package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/expr-lang/expr"

	"keypulse/schema"
)

// writer writes random expressions of a type that mean the same to expr and to us: no nil, no values of two types
// compared, no integer beyond 64 bits, no division by zero.
type writer struct{ r *rand.Rand }

func (w writer) pick(options ...func() string) string { return options[w.r.IntN(len(options))]() }

func (w writer) one(list ...string) string { return list[w.r.IntN(len(list))] }

func (w writer) boolean(depth int) string {
	if depth == 0 {
		return w.one("true", "false", "details.yes", "details.no")
	}
	d := depth - 1
	return w.pick(
		func() string { return w.number(d) + w.one(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.number(d) },
		func() string { return w.text(d) + w.one(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.text(d) },
		func() string {
			return w.text(d) + w.one(" contains ", " startsWith ", " endsWith ", " not contains ") + w.text(d)
		},
		func() string { return w.text(d) + " matches " + w.one(`"^a"`, `"[0-9]+"`, `"(b|c)$"`, `"é"`) },
		func() string {
			return w.text(d) + w.one(" in ", " not in ") + "[" + w.text(d) + `, "abc", ` + w.text(d) + "]"
		},
		func() string { return w.number(d) + w.one(" in ", " not in ") + "[1, 2.5, " + w.number(d) + "]" },
		func() string { return w.text(d) + " in details.list" },
		func() string { return w.text(d) + " in details.o" },
		func() string {
			return "((" + w.boolean(d) + w.one(") && (", ") || (", ") and (", ") or (", ") == (", ") != (") + w.boolean(d) + "))"
		},
		func() string { return w.one("!", "not ") + "(" + w.boolean(d) + ")" },
		func() string { return "(" + w.boolean(d) + " ? " + w.boolean(d) + " : " + w.boolean(d) + ")" },
		func() string { return w.one("hasPrefix", "hasSuffix") + "(" + w.text(d) + ", " + w.text(d) + ")" },
	)
}

func (w writer) number(depth int) string {
	if depth == 0 {
		return w.one("0", "1", "-3", "7", "2.5", "1e3", "details.n", "details.f", "details.o.k", "details.nums[1]", "details.one")
	}
	d := depth - 1
	return w.pick(
		func() string { return "(" + w.number(d) + w.one(" + ", " - ", " * ") + w.number(d) + ")" },
		func() string { return "(" + w.number(d) + " / " + w.one("2", "2.5", "details.n") + ")" },
		func() string { return "(" + w.one("7", "details.n", "-9") + " % " + w.one("2", "details.n") + ")" },
		func() string { return "(" + w.number(d) + w.one(" ** ", " ^ ") + w.one("2", "0", "1") + ")" },
		func() string { return "-(" + w.number(d) + ")" },
		func() string { return w.one("abs", "floor", "ceil", "round") + "(" + w.number(d) + ")" },
		func() string { return w.one("indexOf", "lastIndexOf") + "(" + w.text(d) + ", " + w.text(d) + ")" },
		func() string { return "len(" + w.one("details.list", "details.o", w.text(d)) + ")" },
		func() string { return "(" + w.boolean(d) + " ? " + w.number(d) + " : " + w.number(d) + ")" },
		func() string { return "(details.n ?? " + w.number(d) + ")" },
		func() string { return "mean([" + w.number(d) + ", 2])" },
	)
}

func (w writer) text(depth int) string {
	if depth == 0 {
		return w.one(`""`, `"abc"`, `'é "x"'`, "`a\\b`", "key_id", "event_type", "actor", "details.s", "details.list[0]", "details.u", "severity")
	}
	d := depth - 1
	return w.pick(
		func() string { return w.one("lower", "upper", "trim") + "(" + w.text(d) + ")" },
		func() string { return "trimPrefix(" + w.text(d) + ", " + w.text(d) + ")" },
		func() string { return "(" + w.boolean(d) + " ? " + w.text(d) + " : " + w.text(d) + ")" },
		func() string { return "(" + w.text(d) + " | lower())" },
		func() string { return "split(" + w.text(d) + `, "b")[0]` },
		func() string { return w.one("event_type", `"abc"`, "severity") + "[:" + w.one("0", "1", "-1") + "]" },
		func() string { return "type(" + w.one(w.text(d), w.boolean(d)) + ")" },
	)
}

// TestEvaluatorEqualsExpr compares with expr's own virtual machine on generated expressions.
func TestEvaluatorEqualsExpr(t *testing.T) {
	e := &schema.Event{
		KeyID: "key-é", Type: "abc", Severity: schema.Critical, Actor: "bob",
		Details: []byte(`{"n": 7, "f": 2.5, "one": 1.0, "s": "a\"b\u00e9", "u": "ÉÀ", "yes": true, "no": false,
			"list": ["abc", "x", "b"], "nums": [1, 2.25], "o": {"k": 4, "abc": 1}}`),
	}
	env := map[string]any{
		"key_id": e.KeyID, "event_type": e.Type, "severity": e.Severity.String(), "actor": e.Actor,
		"details": map[string]any{
			"n": 7, "f": 2.5, "one": 1.0, "s": `a"bé`, "u": "ÉÀ", "yes": true, "no": false,
			"list": []any{"abc", "x", "b"}, "nums": []any{1, 2.25}, "o": map[string]any{"k": 4, "abc": 1},
		},
	}
	w := writer{rand.New(rand.NewPCG(1, 2))}
	runs, same := 3000, 0
	if soak {
		runs = 300_000
	}
	for range runs {
		when := w.boolean(1 + w.r.IntN(4))
		if len(when) > MaxExpression {
			continue
		}
		program, err := expr.Compile(when, expr.Env(env), expr.AsBool())
		if err != nil {
			t.Fatalf("expr refuses %s: %v", when, err)
		}
		want, err := expr.Run(program, env)
		if err != nil {
			continue // an index beyond a slice and the like: nil for us
		}
		if got := holds(t, when, e); got != want {
			t.Fatalf("%s = %v, expr says %v", when, got, want)
		}
		same++
	}
	if same < runs*9/10 {
		t.Errorf("only %d of %d expressions could be compared", same, runs)
	}
}

// FuzzRuleCompile feeds any text: it never panics, refuses quickly or compiles to something that runs, and an
// aggregate's canonical text compiles to the same aggregate again.
func FuzzRuleCompile(f *testing.F) {
	w := writer{rand.New(rand.NewPCG(3, 4))}
	for range 50 {
		f.Add(w.boolean(3), "{{key_id}}")
	}
	f.Add(`count("10m", event_type == "export" and details.a[0]?.b in [1, nil]) > 3`, `{{ sum("1h", details["x"] ** 2, !true) }} }}`)
	f.Add(`since_last(actor matches "^a") ?? 1 < 90 * 86400 ? true : false`, "{{")
	f.Add(`1 < (1 < (1 < 2) < 3) < 4`, "{{ {a: {b: 1}} }}")
	f.Fuzz(func(t *testing.T, when, message string) {
		r := ruleWhen("r", when)
		r.Message = message
		p, err := Compile(r)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a message")
			}
			return
		}
		set := NewSet([]*Program{p})
		e := event()
		values := NewScope(nil).Begin(set, e)
		set.Eval(e, values, func(*Program) {})
		if text := p.Message(e, values); len(text) > MaxRendered {
			t.Errorf("a message of %d bytes", len(text))
		}
		p.ValuesJSON(values)
		if got := values.Failures(); len(got) != 0 {
			t.Errorf("%s failed: %+v", when, got)
		}
		for _, a := range p.Aggregates() {
			again, err := Compile(ruleWhen("r", "("+a.Text+") != nil"))
			if err != nil {
				if len(a.Text) < MaxExpression/2 {
					t.Errorf("%s: its aggregate %s: %v", when, a.Text, err)
				}
			} else if got := again.Aggregates()[0]; got.Key() != a.Key() {
				t.Errorf("%s: its aggregate %s has the key %s, read again %s", when, a.Text, a.Key(), got.Key())
			}
		}
	})
}

func ExampleCompile() {
	_, err := Compile(Rule{
		ID: "export-burst", Name: "Many exports", When: `event_typ == "export" && count("10m") > 3`,
		Severity: schema.Critical, Mode: Live,
	})
	fmt.Println(err)
	// Output:
	// 1:1: when: the event has no field "event_typ" (did you mean "event_type"?)
	//  | event_typ == "export" && count("10m") > 3
	//  | ^
}
