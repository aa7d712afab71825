package rules

import (
	"fmt"
	"strings"
	"testing"

	"keypulse/schema"
)

// operand is a member of details and what rules.md needs to know of it.
type operand struct {
	name, json string
	kind       Kind // KindFloat for every number
	number     float64
	text       string
}

var operands = []operand{
	{name: "missing"},
	{name: "null", json: `null`},
	{name: "yes", json: `true`, kind: KindBool, number: 1},
	{name: "no", json: `false`, kind: KindBool},
	{name: "zero", json: `0`, kind: KindFloat},
	{name: "seven", json: `7`, kind: KindFloat, number: 7},
	{name: "again", json: `7.0e0`, kind: KindFloat, number: 7},
	{name: "half", json: `-0.5`, kind: KindFloat, number: -0.5},
	{name: "empty", json: `""`, kind: KindString},
	{name: "digit", json: `"7"`, kind: KindString, text: "7"},
	{name: "word", json: `"null"`, kind: KindString, text: "null"},
	{name: "list", json: `[7, "7", null]`, kind: KindList, text: "list"},
	{name: "object", json: `{"7": 1, "null": null}`, kind: KindObject, text: "object"},
}

func (o operand) numeric() bool { return o.kind == KindFloat }
func (o operand) textual() bool { return o.kind == KindString }

// equals is == and != of two values; neither holds when the two do not compare.
func (o operand) equals(p operand) (same, different bool) {
	if o.kind != p.kind || o.kind == KindNil {
		return false, false
	}
	same = o.number == p.number && o.text == p.text
	return same, !same
}

// less is <; two that do not compare are not less either way.
func (o operand) less(p operand) bool {
	return o.numeric() && p.numeric() && o.number < p.number || o.textual() && p.textual() && o.text < p.text
}

func (o operand) whole() bool { return o.numeric() && o.name != "half" }

// finite reports whether an operator over two values gives a number; otherwise it gives nil.
func (o operand) finite(operator string, p operand) bool {
	switch {
	case !o.numeric() || !p.numeric():
		return false
	case operator == "/":
		return p.number != 0
	case operator == "%":
		return o.whole() && p.whole() && p.number != 0
	case operator == "**" && p.name == "half":
		return o.number > 0
	default:
		return true
	}
}

// has is whether o is in p, a list or an object.
func (o operand) has(p operand) bool {
	switch p.kind {
	case KindList:
		return o.kind == KindNil || o.numeric() && o.number == 7 || o.textual() && o.text == "7"
	case KindObject:
		return o.textual() && o.text != ""
	default:
		return false
	}
}

// TestEveryPairOfTypes tries each operator over each two kinds of values, nil and what is not there included, against what rules.md says
// of them: what does not compare is false, what is no number is nil, and nothing fails.
func TestEveryPairOfTypes(t *testing.T) {
	var members []string
	for _, o := range operands {
		if o.json != "" {
			members = append(members, fmt.Sprintf("%q: %s", o.name, o.json))
		}
	}
	e := &schema.Event{KeyID: "k", Type: "t", Severity: schema.Nominal, Details: []byte("{" + strings.Join(members, ", ") + "}")}
	check := func(want bool, format string, args ...any) {
		t.Helper()
		when := fmt.Sprintf(format, args...)
		if got := holds(t, when, e); got != want {
			t.Errorf("%s = %v", when, got)
		}
	}
	for _, a := range operands {
		x := "details." + a.name
		isNil, isTrue := a.kind == KindNil, a.name == "yes"
		check(isNil, "%s == nil", x)
		check(!isNil, "nil != %s", x)
		check(isTrue, "%s", x)
		check(!isTrue, "!%s", x)
		check(isTrue, "%s ? true : false", x)
		check(!a.numeric(), "-%s == nil && +%s == nil", x, x)
		check(isNil, "%s in [nil]", x)
		check(a.textual() && a.text == "7", `%s in ["7"] && %s matches "7"`, x, x)
		check(isNil, `type(%s) == "nil"`, x)
		for _, b := range operands {
			y := "details." + b.name
			same, different := a.equals(b)
			check(same, "%s == %s", x, y)
			check(different, "%s != %s", x, y)
			ordered := a.numeric() && b.numeric() || a.textual() && b.textual()
			check(a.less(b), "%s < %s", x, y)
			check(b.less(a), "%s > %s", x, y)
			check(ordered && !b.less(a), "%s <= %s", x, y)
			check(ordered && !a.less(b), "%s >= %s", x, y)
			for _, operator := range []string{"+", "-", "*", "/", "%", "**"} {
				check(!a.finite(operator, b), "(%s %s %s) == nil", x, operator, y)
			}
			texts := a.textual() && b.textual()
			check(texts && strings.Contains(a.text, b.text), "%s contains %s", x, y)
			check(texts && strings.HasPrefix(a.text, b.text), "%s startsWith %s", x, y)
			check(texts && strings.HasSuffix(a.text, b.text), "not (%s not endsWith %s)", x, y)
			check(a.has(b), "%s in %s", x, y)
			check(!a.has(b), "%s not in %s", x, y)
			check(isTrue && b.name == "yes", "%s && %s", x, y)
			check(isTrue || b.name == "yes", "%s || %s", x, y)
			check(isNil && b.kind == KindNil, "(%s ?? %s) == nil", x, y)
		}
	}
}
