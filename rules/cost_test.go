package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// costly are expressions over details.x, each with one operation whose time depends on what an event brings.
var costly = []string{
	`details.x == nil`, `details.x == details.y`, `details.x == details`, `details.x > "a"`, `details.x in ["a", details.y]`,
	`details.y in details.x`, `actor in details.x`, `2.5 in details.x`, `{"b": 2} in details.x`, `[1, 2] in details.x`, `details.y in ["q", [1], {"a": 1}]`,
	`details.x contains details.y`, `details.x startsWith details.y`, `details.x endsWith "zz"`, `details.x[actor] == 1`, `details.x[-1:] == nil`,
	`details.x[-1] == nil`, `details.x[0].a.b.c == nil`, `details["no such name at all"] == nil`, `[details.x] == nil`, `{"a": details.x} == nil`, `details.x[:3000] == nil`,
	`details.x matches "[0-9]+x"`, `details.x matches "(a|b|ab)*c"`, `details.x matches "a{200}b"`, `details.x matches "(a?){50}b"`,
	`details.x matches "(.?){40}x"`, `details.x matches "^(\\w+\\s?)+x$"`, `details.x matches "(?i)secret|password"`, `details.x matches "^a{30}b"`, `details.x matches "é+é"`,
	`cidr(details.x, "10.0.0.0/8")`, `hour("Europe/Berlin") == 25`, `weekday() == 8`, `created_at == ""`, `details.x ** 2 == 1`, `-details.x == 1`,
	`trim(details.x, details.y) == ""`, `trim(details.x, "é") == ""`, `get(details.x, actor) == 1`, `take(details.x, 100000) == nil`,
	`split(details.x, "") == nil`, `split(details.x, "a") == nil`, `split(details.x, "\n") == nil`, `splitAfter(details.x, ",") == nil`,
	`indexOf(details.x, details.y) == 1`, `lastIndexOf(details.x, "ab") == 1`, `indexOf(details.x, "ab") == 1`,
	`hasPrefix(details.x, details.y)`, `hasSuffix(details.x, details.y)`, `concat(details.x, details.x, details.x) == nil`, `sort(details.x, "desc") == nil`,
	`uniq(split(details.x, "")) == nil`, `sort(split(details.x, "a")) == nil`, `len(lower(upper(details.x))) == 1`, `len(keys(details)) == 0`, `len(values(details)) == 0`,
	`trimPrefix(details.x, details.y) == ""`, `trimSuffix(details.x, details.y) == ""`,
}

// adversarial are details of the largest size, each the worst for something.
func adversarial() map[string][]byte {
	events := map[string][]byte{}
	add := func(name, x, y string) {
		events[name] = fmt.Appendf(nil, `{"x":%s,"y":%s}`, x, y)
	}
	const room = maxDetails - 40
	for _, element := range []string{
		`1`, `10`, `1e9`, `0.1`, `1e-7`, `4503599627370496.5`, `1.2345678901000001215e300`, `123456789012345678901234567890e-300`,
		`""`, `"a"`, `"\n"`, `"\u0001"`, `"é"`, `"\ud83d\ude00"`, `[]`, `{}`, `null`, `{"b":1}`, `"` + strings.Repeat("a", 30) + `"`,
	} {
		list := "[" + strings.Repeat(element+",", room/(len(element)+1)-1) + element + "]"
		add("list of "+element, list, "1")
		half := "[" + strings.Repeat(element+",", room/2/(len(element)+1)-1) + element + "]"
		add("two lists of "+element, half, half[:len(half)-1]+" ]")
		add("list and element "+element, list[:len(list)-min(len(list)-2, 2*len(element)+2)]+"1]", element)
	}
	for _, text := range []string{`a`, `ab `, `\n`, `\u0001`, `é`, `\ud83d\ude00`, `1`, `,`, `MTIz`, `secrepasswor`, ` `, `\"`} {
		add("text of "+text, `"`+strings.Repeat(text, room/len(text))+`"`, `"ab"`)
		half := `"` + strings.Repeat(text, room/2/len(text))
		add("two texts of "+text, half+`"`, half+`x"`)
		add("texts of "+text, half+`x"`, half+`"`)
	}
	joined := func(open, end, format string, least int) string {
		b := []byte(open)
		for i := 0; ; i++ {
			next := fmt.Appendf(nil, format, (i*7919)%65536)
			if len(b)+len(next) > least {
				return string(b[:len(b)-1]) + end
			}
			b = append(b, next...)
		}
	}
	add("different texts", joined("[", "]", `"%x",`, room), `"zz"`)
	add("different numbers", joined("[", "]", `%d,`, room), `99999`)
	add("different fractions", joined("[", "]", `0.%d,`, room), `0.99999`)
	add("object", joined("{", "}", `"%x":1,`, room), `"zz"`)
	add("object with escapes", joined("{", "}", `"\n%x":1,`, room), `"zz"`)
	add("object of halves", joined("{", "}", `"%x":0.5,`, room/2), joined("{", "}", `"%x":5e-1,`, room/2))
	add("deep", strings.Repeat("[", 30)+strings.Repeat("1,", room/2-30)+"1"+strings.Repeat("]", 30), "1")
	add("deep objects", strings.Repeat(`{"a":`, 30)+joined("{", "}", `"%x":1,`, room-200)+strings.Repeat("}", 30), "1")
	add("long number", strings.Repeat("1234567890", room/10), "1")
	add("long fraction", "0."+strings.Repeat("0", 300)+strings.Repeat("123456789", 1700), "1")
	events["names"] = []byte(joined("{", "}", `"no such name at al%x":1,`, room))
	events["names with escapes"] = []byte(joined("{", "}", `"no such name \u0061t al%x":1,`, room))
	return events
}

// costlyRules compiles the costly expressions, and one for each builtin.
func costlyRules(t testing.TB) map[string]*Program {
	programs, costly := map[string]*Program{}, slices.Clone(costly)
	for name, b := range builtins {
		if b.least == 1 {
			costly = append(costly, name+`(details.x) == 1.5`)
		}
	}
	for _, when := range costly {
		p, errs := compile(ruleWhen("r", when))
		if len(errs) > 0 {
			t.Fatalf("compile %s: %v", when, errs)
		}
		programs[when] = p
	}
	return programs
}

// BenchmarkCost measures each operation over the inputs that are worst for it, and reports the largest share of its
// modelled time that one takes: the model holds while that is at most 1.
func BenchmarkCost(b *testing.B) {
	programs, events := costlyRules(b), adversarial()
	for b.Loop() {
		worst := 0.0
		for when, p := range programs {
			set, scope := NewSet([]*Program{p}), NewScope(nil)
			share, slowest, at := 0.0, time.Duration(0), ""
			for name, details := range events {
				e := benchEvent()
				e.Details = details
				if took := fastest(8, func() { set.Eval(e, scope.Begin(set, e), func(*Program) {}) }); took > slowest {
					slowest, at = took, name
				}
			}
			share = float64(slowest) / float64(p.WorstTime())
			worst = max(worst, share)
			b.Logf("%5.2f  %-50s %10v of %10v  %.40s", share, when, slowest, p.WorstTime(), at)
		}
		b.ReportMetric(worst, "measured/model")
	}
	b.ReportMetric(0, "ns/op")
}

// fastest runs f some times and returns the shortest: what a machine does besides makes the others longer.
func fastest(times int, f func()) time.Duration {
	best := time.Hour
	for range times {
		begin := time.Now()
		f()
		best = min(best, time.Since(begin))
	}
	return best
}

// TestSizesAreBounds evaluates expressions over the worst events: none gives more bytes than the model says.
func TestSizesAreBounds(t *testing.T) {
	events := adversarial()
	list := []string{
		`key_id`, `event_type`, `severity`, `source_ip`, `actor`, `created_at`, `event_id`, `details`, `details.x`, `details.x[0]`, `details.x[-1].b`,
		`[details.x, details.y, actor]`, `{"a": details.x, "\u0001": actor}`, `details.x[2:9]`, `details.x[-5:]`, `details.x[:-5]`, `[details.x[:7]]`,
		`split(fromBase64(details.x), "")`, `split(details.x[:100], "")`, `split(details.x, "")`, `splitAfter(details.x, "\n")`, `upper(lower(details.x))`,
		`concat(details.x, [actor], details.y)`, `details.z ?? details.x`, `severity == "nominal" ? details.x : actor`, `get(details, "x")`, `take(details.x, 5)`,
		`[string(details.x ?? 1.5)]`, `[fromBase64(details.x)[1:50]]`, `keys(details)`, `values(details)`, `split(actor, "")`, `count("1h")`, `details.x ** 3`,
	}
	for name, b := range builtins {
		if b.least == 1 {
			list = append(list, name+`(details.x)`)
		}
		if _, ok := builtinCosts[name]; !ok {
			t.Errorf("the model does not know %s", name)
		}
	}
	for _, src := range list {
		var errs Errors
		p := &Program{rule: ruleWhen("r", "true")}
		c, _ := compileExpression("when", src, src, 0, &p.tables, &p.meter, &errs)
		if len(errs) > 0 {
			t.Fatalf("compile %s: %v", src, errs)
		}
		for name, details := range events {
			e := benchEvent()
			e.KeyID, e.Actor = strings.Repeat("\x01", maxField), strings.Repeat("\x02", maxField)
			e.Details = details
			v := c.value(p.bind(e, Values{}))
			var got size
			switch v.kind {
			case KindNil:
			case KindList, KindObject:
				got.json = float64(len(v.str))
			case KindString:
				got.text, got.quoted = float64(len(v.str)), float64(len(appendQuoted(nil, v.str))-2)
			default:
				got.text = float64(len(v.AppendText(nil)))
				got.quoted = got.text
			}
			if larger(got, c.size) != c.size {
				t.Errorf("%s over %s gives %v bytes, the model says %v", src, name, got, c.size)
			}
		}
	}
}
