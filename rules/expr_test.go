package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"

	"keypulse/schema"
)

// sameEvent is the event that generated expressions look at; sameEnv is what expr sees of it.
var sameEvent = schema.Event{
	KeyID: "key-é", Type: "abc", Severity: schema.Critical, Actor: "bob", SourceIP: "10.1.2.3", EventID: "e-1",
	CreatedAt: 1775392440123, // Sunday, 2026-04-05T12:34:00.123Z
	Details: []byte(`{"n": 7, "f": 2.5, "one": 1.0, "s": "a\"b\u00e9", "u": "ÉÀ", "yes": true, "no": false,
		"list": ["abc", "x", "b"], "nums": [1, 2.25], "o": {"k": 4, "abc": 1}, "null": null}`),
}

func sameEnv() map[string]any {
	e := &sameEvent
	env := map[string]any{
		"key_id": e.KeyID, "event_type": e.Type, "severity": e.Severity.String(), "actor": e.Actor,
		"source_ip": e.SourceIP, "event_id": e.EventID, "created_at": e.CreatedAt.String(),
		"details": map[string]any{
			"n": 7, "f": 2.5, "one": 1, "s": `a"bé`, "u": "ÉÀ", "yes": true, "no": false, "null": nil,
			"list": []any{"abc", "x", "b"}, "nums": []any{1, 2.25}, "o": map[string]any{"k": 4, "abc": 1},
		},
	}
	for _, a := range aggregatesForExpr {
		env[a.name] = a.value
	}
	return env
}

// aggregatesForExpr are fields for expr and windows for us; each has the value that the call below gives.
var aggregatesForExpr = []struct {
	name, text string
	value      any
}{
	{"a_count", `count("10m", event_type == "abc")`, 3},
	{"a_rate", `rate("10m")`, 0.005},
	{"a_sum", `sum("1h", details.f)`, 7.5},
	{"a_avg", `avg("1h", details.f)`, 2.5},
	{"a_min", `min("1d", details.n, actor != "")`, -4},
	{"a_max", `max("1d", details.n)`, 7},
	{"a_stddev", `stddev("30d", details.n)`, 0.25},
	{"a_distinct", `distinct("1h", source_ip)`, 2},
	{"a_seen", `first_seen("30d", actor)`, true},
	{"a_since", `since_last(severity == "critical")`, 86400.5},
}

// aggregateValues are their values by call.
func aggregateValues() (values [SinceLast + 1]Value) {
	for i, a := range aggregatesForExpr {
		switch v := a.value.(type) {
		case int:
			values[i] = Int(int64(v))
		case float64:
			values[i] = Float(v)
		case bool:
			values[i] = Bool(v)
		}
	}
	return values
}

// exprClocks are the functions that expr has not.
func exprClocks() []expr.Option {
	zone := func(args []any) *time.Location {
		if len(args) == 0 {
			return time.UTC
		}
		z, err := time.LoadLocation(args[0].(string))
		if err != nil {
			panic(err)
		}
		return z
	}
	at := sameEvent.CreatedAt.Time()
	return []expr.Option{
		expr.Function("hour", func(args ...any) (any, error) { return at.In(zone(args)).Hour(), nil }, new(func() int), new(func(string) int)),
		expr.Function("weekday", func(args ...any) (any, error) { return int(at.In(zone(args)).Weekday()), nil }, new(func() int), new(func(string) int)),
		expr.Function("cidr", func(args ...any) (any, error) {
			address, err := netip.ParseAddr(args[0].(string))
			return err == nil && netip.MustParsePrefix(args[1].(string)).Contains(address), nil
		}, new(func(string, string) bool)),
	}
}

// TestEvaluatorEqualsExpr compares with expr's own virtual machine on generated expressions, which have every operator,
// function, field and aggregate of the language in them.
func TestEvaluatorEqualsExpr(t *testing.T) {
	env, values := sameEnv(), aggregateValues()
	options := append(exprClocks(), expr.Env(env), expr.AsBool())
	var renames []string
	for _, a := range aggregatesForExpr {
		renames = append(renames, a.name, a.text)
	}
	ours := strings.NewReplacer(renames...)
	w := writer{rand.New(rand.NewPCG(1, 2))}
	runs, same, compared := 3000, 0, map[string]bool{}
	if soak {
		runs = 300_000
	}
	for range runs {
		theirs := w.boolean(1 + w.r.IntN(4))
		when := ours.Replace(theirs)
		if len(when) > MaxExpression {
			continue
		}
		program, err := expr.Compile(theirs, options...)
		if err != nil {
			t.Fatalf("expr refuses %s: %v", theirs, err)
		}
		want, err := expr.Run(program, env)
		if err != nil {
			continue // an index beyond a slice and the like: nil for us
		}
		if got := holdsWith(t, when, values); got != want {
			t.Fatalf("%s = %v, expr says %v", when, got, want)
		}
		same++
		for _, token := range tokens.FindAllString(when, -1) {
			compared[token] = true
		}
	}
	if same < runs*9/10 {
		t.Errorf("only %d of %d expressions could be compared", same, runs)
	}
	for _, token := range slices.Concat(eventFields, callNames, operators) {
		if !compared[token] {
			t.Errorf("%s was in no expression", token)
		}
	}
}

// operators are all of the language; tokens finds them, names too.
var operators = []string{
	"&&", "and", "||", "or", "!", "not", "==", "!=", "<", "<=", ">", ">=", "in", "contains", "startsWith", "endsWith", "matches",
	"+", "-", "*", "/", "%", "**", "^", "??", "?", ":", ".", "?.", "[", "{", "|", "if", "else", "//", "/*",
}

var tokens = regexp.MustCompile(`[a-zA-Z_][a-zA-Z_0-9]*|&&|\|\||[!=<>]=|\*\*|\?\?|\?\.|//|/\*|[-!<>+*/%^?:.\[{|]`)

// holdsWith evaluates a condition for sameEvent; each call of an aggregate has its value.
func holdsWith(t *testing.T, when string, values [SinceLast + 1]Value) (hit bool) {
	t.Helper()
	p, errs := compile(ruleWhen("r", when))
	if len(errs) > 0 {
		t.Fatalf("compile %s: %v", when, errs)
	}
	set := NewSet([]*Program{p})
	scope := NewScope(func(i int) Value { return values[set.Aggregates()[i].Call] })
	if n := set.Eval(&sameEvent, scope.Begin(set, &sameEvent), func(*Program) { hit = true }); n != 0 {
		t.Fatalf("%s failed while it ran", when)
	}
	return hit
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
