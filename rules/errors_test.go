package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// compileErrors returns the errors of a condition.
func compileErrors(t *testing.T, when string) Errors {
	t.Helper()
	_, err := Compile(ruleWhen("r", when))
	var errs Errors
	if err != nil && !errors.As(err, &errs) {
		t.Fatalf("%s: %T is no Errors", when, err)
	}
	return errs
}

func TestCompileErrors(t *testing.T) {
	// place is "line:column".
	refused := func(when, place, message string) {
		t.Helper()
		errs := compileErrors(t, when)
		if len(errs) != 1 {
			t.Errorf("%s: %d errors: %v", when, len(errs), errs)
			return
		}
		if got := fmt.Sprintf("%d:%d", errs[0].Line, errs[0].Column); got != place || !strings.Contains(errs[0].Message, message) {
			t.Errorf("%s: %s %s, want %s %s", when, got, errs[0].Message, place, message)
		}
		if errs[0].Field != "when" || !strings.HasSuffix(errs[0].Snippet, "^") {
			t.Errorf("%s: field %q, snippet %q", when, errs[0].Field, errs[0].Snippet)
		}
	}

	// Names, with the nearest one.
	refused(`event_typ == "export"`, "1:1", `(did you mean "event_type"?)`)
	refused(`event_type == "a" and sevrity == "b"`, "1:23", `(did you mean "severity"?)`)
	refused("true &&\n  cuont(\"10m\") > 3", "2:3", `there is no function "cuont" (did you mean "count"?)`)
	refused(`nosuchthing == 1`, "1:1", `has no field "nosuchthing"`)
	refused(`count > 1`, "1:1", `count is a function`)
	refused(`lowr(actor) == "a"`, "1:1", `(did you mean "lower"?)`)
	refused(`actor.name == 1`, "1:7", `a string has no members`)
	refused(`actor.trim() == ""`, "1:7", `only functions can be called`)

	// Syntax.
	refused(`event_type == `, "1:14", `unexpected token EOF`)
	refused(`event_type == "a`, "1:17", `literal not terminated`)
	refused(`(true`, "1:5", `unexpected token EOF`)
	refused(`true true`, "1:6", `unexpected token`)

	// Types.
	refused(`event_type`, "1:1", `when must be true or false, not a string`)
	refused(`count("10m")`, "1:1", `when must be true or false, not a number`)
	refused(`nil`, "1:1", `when must be true or false`)
	refused(`event_type + "x" == "y"`, "1:12", `strings cannot be joined`)
	refused(`event_type * 2 == 4`, "1:12", `needs numbers, not a string`)
	refused(`event_type && true`, "1:1", `needs booleans, not a string`)
	refused(`!count("1h")`, "1:1", `needs a boolean, not a number`)
	refused(`"a" in "abc"`, "1:5", `needs an array or a map, not a string`)
	refused(`1 ? true : false`, "1:1", `a condition must be a boolean`)

	// Aggregates.
	refused(`count() > 1`, "1:1", `count is written count(window) or count(window, where)`)
	refused(`count("10m", true, true) > 1`, "1:1", `count is written`)
	refused(`sum("10m") > 1`, "1:1", `sum is written sum(window, value) or sum(window, value, where)`)
	refused(`since_last() > 1`, "1:1", `since_last is written since_last(where)`)
	refused(`count(actor) > 1`, "1:7", `must be a literal`)
	refused(`count("10 minutes") > 1`, "1:7", `"10 minutes" is not a duration`)
	refused(`count("999ms") > 1`, "1:7", `at least 1s and at most 30d`)
	refused(`count("31d") > 1`, "1:7", `at least 1s and at most 30d`)
	refused(`count("1h", 5) > 1`, "1:13", `where must be a boolean, not a number`)
	refused(`count("1h", count("1h") > 1) > 1`, "1:13", `count cannot be inside of an aggregate`)
	refused(`sum("1h", rate("1h")) > 1`, "1:11", `rate cannot be inside of an aggregate`)
	refused(`count("0s") > 1`, "1:7", `at least 1s and at most 30d`)
	refused(`count("30d1ms") > 1`, "1:7", `at least 1s and at most 30d`)
	refused(`first_seen("1h") && true`, "1:1", `first_seen is written first_seen(window, value)`)
	refused(`since_last("1h", true) > 1`, "1:1", `since_last is written since_last(where)`)
	refused(`since_last(since_last(true) > 1) > 1`, "1:12", `since_last cannot be inside of an aggregate`)
	refused(`sum("1h", details.a, max("1h", details.a) > 1) > 1`, "1:22", `max cannot be inside of an aggregate`)
	refused(`distinct("1h", nope) > 1`, "1:16", `has no field "nope"`)
	refused(`max(1, 2) == 2`, "1:5", `the window of max must be a literal`)

	// Literals that are checked while compiling.
	refused(`hour("Mars/Olympus") == 1`, "1:6", `is not a time zone`)
	for _, zone := range []string{"Local", "localtime", "right/UTC", "posix/Europe/Berlin", "posixrules", "europe/berlin", "Europe", "Europe/", "../UTC", "/etc/localtime", "UTC+1"} {
		refused(`hour("`+zone+`") == 1`, "1:6", `is not a time zone`)
	}
	refused(`weekday("") == 1`, "1:9", `is not a time zone`)
	refused(`hour("UTC", "UTC") == 1`, "1:1", `takes at most 1 arguments`)
	refused(`hour(actor) == 1`, "1:6", `must be a literal`)
	refused(`cidr(source_ip, "10.0.0.0") `, "1:17", `is not a network`)
	refused(`cidr(source_ip, actor)`, "1:17", `must be a literal`)
	refused(`actor matches "("`, "1:15", `not a regular expression`)
	refused(`actor matches key_id`, "1:15", `must be a literal`)

	// What the language leaves out.
	refused(`1..3 == [1]`, "1:2", `ranges`)
	refused(`now() == 1`, "1:1", `now() is not allowed in a rule`)
	refused(`date("2026-01-01") == 1`, "1:1", `date() is not allowed`)
	for _, call := range []string{
		`all(details.a, # > 1)`, `none(details.a, # > 1)`, `any(details.a, {# > 1})`, `one(details.a, # > 1)`, `filter(details.a, # > 1)`, `map(details.a, #)`,
		`find(details.a, # > 1)`, `findIndex(details.a, # > 1)`, `findLast(details.a, # > 1)`, `findLastIndex(details.a, # > 1)`,
		`groupBy(details.a, #)`, `sortBy(details.a, #)`, `reduce(details.a, #acc + #, 0)`,
	} {
		refused(call+` == nil`, "1:1", call[:strings.Index(call, "(")]+`() is not allowed in a rule: nested predicates`)
	}
	for _, call := range []string{
		`replace("a", "", actor)`, `join(["a"])`, `toBase64("a")`, `duration("1h")`, `timezone("UTC")`, `toPairs(details)`, `fromPairs([])`,
	} {
		refused(call+` == nil`, "1:1", call[:strings.Index(call, "(")]+`() is not allowed in a rule`)
	}
	refused(`repeat("a", 100) == ""`, "1:1", `repeat() is not allowed`)
	refused(`toJSON(details) == ""`, "1:1", `toJSON() is not allowed`)
	refused(`fromJSON("1") == 1`, "1:1", `fromJSON() is not allowed`)
	refused(`$env.actor == ""`, "1:1", `$env is not allowed`)
	refused(`$env == nil`, "1:1", `$env is not allowed`)
	refused(`# == 1`, "1:1", ``)
	refused(`1 in 1..9`, "1:7", `ranges`)
	refused(`"a" + details.s == ""`, "1:5", `strings cannot be joined`)
	refused(`details.s + "a" == ""`, "1:11", `strings cannot be joined`)
	refused(`let x = 1; x == 1`, "1:5", `variables`)
	refused(`true; false`, "1:1", `one expression`)
	refused(`b"a" == actor`, "1:1", `byte strings`)
}

func TestAllErrorsAtOnce(t *testing.T) {
	errs := compileErrors(t, `event_typ == "a" && foo() && actor contains sevrity`)
	if len(errs) != 3 {
		t.Fatalf("%d errors, want 3:\n%v", len(errs), errs)
	}
	want := ` | event_typ == "a" && foo() && actor contains sevrity` + "\n" + ` | ....................^`
	if errs[1].Snippet != want {
		t.Errorf("snippet\n%s\nwant\n%s", errs[1].Snippet, want)
	}
	if text := errs.Error(); !strings.Contains(text, "1:21: when: there is no function \"foo\"\n | event_typ") {
		t.Errorf("errors read\n%s", text)
	}
}

func TestMessageErrors(t *testing.T) {
	r := ruleWhen("r", `true`)
	r.Message = "é {{key_id}}\n and {{ key_idd }} {{ 1"
	_, err := Compile(r)
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 2 {
		t.Fatalf("errors %v", err)
	}
	if e := errs[0]; e.Field != "message" || e.Line != 2 || e.Column != 9 || !strings.Contains(e.Message, `"key_id"`) {
		t.Errorf("first error %+v", e)
	}
	if e := errs[1]; e.Line != 2 || e.Column != 20 || !strings.Contains(e.Message, "not closed") {
		t.Errorf("second error %+v", e)
	}
}

// TestAttacks tries what traps.md lists, and relatives of it: each is refused in under a millisecond.
func TestAttacks(t *testing.T) {
	nested := strings.Repeat("1 < (", 60) + "1" + strings.Repeat(") < 1", 60)
	attacks := map[string]string{
		"doubling strings":         `reduce(1..31, #acc + #acc, "a") == ""`,
		"doubling without reduce":  `let a = actor + actor; let b = a + a; b + b == ""`,
		"a loop of map":            `len(map(1..1000000000, #)) > 1`,
		"a loop of filter":         `len(filter(1..1000000000, true)) > 1`,
		"a loop of count":          `count(1..1000000000, true) > 1`,
		"a loop of sum":            `sum(1..1000000000, #) > 1`,
		"a predicate over details": `count(details.x, any(details.x, any(details.x, true))) > 1`,
		"a member of the machine":  `::reduce(1..1000000, #acc + #, 0) > 1`,
		"65 levels of brackets":    strings.Repeat("(", MaxBrackets+1) + "true" + strings.Repeat(")", MaxBrackets+1),
		"4 KiB and a byte":         `true` + strings.Repeat(" ", MaxExpression-3),
		"a megabyte of text":       `actor == "` + strings.Repeat("a", 1<<20) + `"`,
		"a megabyte of minus":      strings.Repeat("-", 1<<20) + "1 == 1",
		"a pattern of 257 bytes":   `actor matches "` + strings.Repeat("a", MaxPattern+1) + `"`,
		"a replacement":            `replace(details.x, "", details.y) == ""`,
		"a join":                   `join(split(details.x, ""), details.y) == ""`,
		"a megabyte of brackets":   strings.Repeat("(", 1<<20),
		"4 KiB of brackets":        strings.Repeat("(", 4<<10),
		"other brackets":           strings.Repeat("[", 2<<10) + strings.Repeat("]", 2<<10),
		"maps":                     strings.Repeat("{a:", 1<<10),
		"brackets after a quote":   `"\"" == ` + strings.Repeat("(", 100),
		"negations":                strings.Repeat("!", 4<<10),
		"string +":                 `actor + actor == ""`,
		"repeat":                   `repeat(actor, 1000000) == ""`,
		"range":                    `len(1..1000000000) > 1`,
		"nested predicates":        `all(1..10000, all(1..10000, all(1..10000, true)))`,
		"shadowed predicate":       `::count(1..1000000, true) > 1`,
		"a shared comparison":      nested,
		"a large pattern":          `actor matches "((a{1,100}){1,100}){1,100}"`,
		"many repetitions":         `actor matches "` + strings.Repeat("x{1000}", 30) + `"`,
		"a long pattern":           `actor matches "` + strings.Repeat("a", 300) + `"`,
		"a pattern from an event":  `actor matches details.pattern`,
		"quotes in quotes":         `toJSON(toJSON(toJSON(details))) == ""`,
		"environment":              `$env["actor"] == ""`,
		"a chain of members":       `actor` + strings.Repeat(".a", 1000) + ` == 1`,
		"many errors":              `a` + strings.Repeat("&&a", 1000),
		"a variable":               `let a = [1]; let b = [a, a]; let c = [b, b]; c == c`,
		"sixty sorts":              `true` + strings.Repeat(` && sort(uniq(split(details.x, "")))[0] == "a"`, 60),
		"sixty comparisons":        `true` + strings.Repeat(` && details.x == details.y`, 60),
		"a list of lists":          `uniq(concat(details.x` + strings.Repeat(`, details.x`, 7) + `)) == nil`,
		"growing texts":            strings.Repeat("upper(", 50) + `details.x` + strings.Repeat(")", 50) + ` == ""`,
		"texts that grow in pipes": `details.x` + strings.Repeat("|upper()", 500) + ` == ""`,
		"three hundred members":    `true` + manyTerms(` || details.a%d == 1`, 250),
		"a pattern over details":   `details.x matches "(a?){50}b"`,
		"many patterns":            `true` + strings.Repeat(` && details.x matches "[0-9]+x"`, 100),
		"characters in characters": `trim(details.x, details.y) == ""`,
		"costly where":             `count("1h", sort(split(details.x, ","))[0] == "a" || sort(split(details.y, ","))[0] == "a") > 1`,
		"costly value":             `distinct("1h", [details.a, details.b, details.c]) > 1 && distinct("1h", [details.d, details.e, details.f, details]) > 1`,
		"elements in elements":     `details.x in details.y || details.y in details.x || details.z in details.y || details.x in details.z`,
	}
	for name, when := range attacks {
		t.Run(name, func(t *testing.T) {
			best := time.Hour
			for range 20 {
				start := time.Now()
				_, err := Compile(ruleWhen("r", when))
				best = min(best, time.Since(start))
				if err == nil {
					t.Fatal("it compiles")
				}
			}
			t.Logf("refused in %v", best)
			if best > time.Millisecond && !raceEnabled {
				t.Errorf("refused in %v", best)
			}
		})
	}
}

// TestDepthIsBounded runs the deepest expressions that the guard lets through.
func TestDepthIsBounded(t *testing.T) {
	for name, when := range map[string]string{
		"brackets":  strings.Repeat("(", MaxBrackets) + "true" + strings.Repeat(")", MaxBrackets),
		"terms":     strings.Repeat("true && ", 500) + "true",
		"minus":     strings.Repeat("-", 64) + "1 == 1",
		"not":       strings.Repeat("not ", 1000) + "true",
		"power":     strings.Repeat("1 ** ", 700) + "1 == 1",
		"ternaries": strings.Repeat("false ? true : ", 250) + "true",
		"pattern":   `not (actor matches "` + strings.Repeat("a", MaxPattern) + `")`,
		"4 KiB":     strings.Repeat(" ", MaxExpression-4) + "true",
		"pipes":     "1" + strings.Repeat(" | abs()", 400) + " == 1",
		"strings":   `actor != "` + strings.Repeat("(", 1000) + `" // ` + strings.Repeat("(", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			if !holds(t, when, event()) {
				t.Error("does not hold")
			}
		})
	}
}

// TestOneErrorHidesNoOther has something wrong with every field, so that one error must not hide another.
func TestOneErrorHidesNoOther(t *testing.T) {
	fields := func(err error) (names []string) {
		var errs Errors
		if !errors.As(err, &errs) {
			t.Fatalf("not Errors: %v", err)
		}
		for _, e := range errs {
			names = append(names, e.Field)
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	_, err := ParseJSON([]byte(`{"id":"X","name":"","when":"nosuch == 1","severity":"high","score":101,"message":"{{q}}"}`))
	if got, want := fields(err), []string{"id", "message", "name", "score", "severity", "when"}; !slices.Equal(got, want) {
		t.Errorf("JSON: errors about %q, want %q", got, want)
	}
	_, err = ParseYAML("rules.yaml", []byte(`
- id: one
  name: one
  severity: high
  when: event_typ == "a"
- id: Two
  name: two
  severity: nominal
  when: actr == "b"
`))
	if got, want := fields(err), []string{"id", "severity", "when"}; !slices.Equal(got, want) {
		t.Errorf("YAML: errors about %q, want %q", got, want)
	}
	var errs Errors
	if errors.As(err, &errs); len(errs) != 4 {
		t.Errorf("%d errors, want 4:\n%v", len(errs), err)
	}
}

// manyTerms repeats a term with a number.
func manyTerms(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestCostErrors(t *testing.T) {
	errs := compileErrors(t, "severity == \"warning\" &&\n  sort(split(lower(details.note), \",\"))[0] == \"a\"")
	if len(errs) != 1 {
		t.Fatalf("errors %v", errs)
	}
	e := errs[0]
	if e.Field != "when" || e.Line != 2 || e.Column != 3 || !strings.HasSuffix(e.Snippet, "\n | ..^") {
		t.Errorf("at %s %d:%d\n%s", e.Field, e.Line, e.Column, e.Snippet)
	}
	for _, want := range []string{"may take", "at most 2ms", "sort() over up to ", "KiB", "details.note[:256]"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q says nothing of %q", e.Message, want)
		}
	}
	mustCompile(t, ruleWhen("r", `sort(split(lower(details.note[:256]), ","))[0] == "a"`))

	r := ruleWhen("r", `true`)
	r.Message = `{{sort(details.a)[0]}} {{sort(details.b)[0]}}`
	_, err := Compile(r)
	if errs := Errors(nil); !errors.As(err, &errs) || len(errs) != 1 || errs[0].Field != "message" {
		t.Errorf("a costly message: %v", err)
	}
}

// TestOrdinaryRulesAreCheap compiles what rules look like: far below the limit, so that it is in nobody's way.
func TestOrdinaryRulesAreCheap(t *testing.T) {
	for _, when := range []string{
		`details.from == details.to && details.amount_usd > 10000`,
		`details.destination in details.allowlist || details.tags contains "vip"`,
		`len(uniq(details.destinations)) > 3`,
		`sort(details.amounts)[0] > 10`,
		`details.destination matches "^(0x[0-9a-f]{40}|bc1[a-z0-9]{8,60})$"`,
		`details.user_agent[:300] matches "(?i)curl|python|wget"`,
		`split(details.path, "/")[1] == "admin"`,
		`actor matches "(?i)^(svc|service)[-_].*@(myapp|example)\\.(com|org)$"`,
		`lower(trim(actor)) endsWith "@example.com" && hour("Europe/Berlin") < 6`,
		`distinct("1h", details.destination) > 5 && first_seen("30d", [details.asset, details.destination])`,
	} {
		p := mustCompile(t, ruleWhen("r", when))
		t.Logf("%10v %s", p.WorstTime(), when)
	}
}
