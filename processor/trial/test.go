package trial

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"keypulse/rules"
	"keypulse/schema"
)

// Test is one test of one rule: the events, and the alerts that they must raise.
type Test struct {
	Rule string   // the id of the rule that has the test
	Name string   // what the rule does then
	With []string // the ids of the other rules that run beside it
	Line int      // of the test in its file, from 1; 0 = not known

	start  schema.Millis // what offsets count from
	events []schema.Event
	count  int         // of alerts, where list is nil
	list   []wantAlert // all alerts, in the order in which they are raised
}

// wantAlert is an alert as a test expects it; what it leaves out may be anything.
type wantAlert struct {
	at       *schema.Millis
	rule     *string
	keyID    *string
	severity *schema.Severity
	message  *string
	hits     *int64
	score    *int
}

// Result is what came of a test.
type Result struct {
	Alerts     []Alert
	Difference string // between what was expected and what came, line by line; "" when the test passed
}

// Passed reports whether the alerts are those that the test expects.
func (r Result) Passed() bool { return r.Difference == "" }

// Run runs the test. Its rule and those of With are looked up in list, and run as if they were enabled and live: a test
// tells what a rule would do.
func (t *Test) Run(list []rules.Rule) (Result, error) {
	var chosen []rules.Rule
	for _, id := range append([]string{t.Rule}, t.With...) {
		i := slices.IndexFunc(list, func(r rules.Rule) bool { return r.ID == id })
		if i < 0 {
			return Result{}, fmt.Errorf("test %q of rule %s: there is no rule %s in the files", t.Name, t.Rule, id)
		}
		r := list[i]
		r.Enabled, r.Mode = true, rules.Live
		chosen = append(chosen, r)
	}
	alerts, err := Run(chosen, slices.Clone(t.events))
	if err != nil {
		return Result{}, fmt.Errorf("test %q of rule %s: %w", t.Name, t.Rule, err)
	}
	return Result{Alerts: alerts, Difference: t.compare(alerts)}, nil
}

// compare tells how the alerts differ from those expected.
func (t *Test) compare(came []Alert) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if t.list == nil {
		if len(came) == t.count {
			return ""
		}
		say("expected %s, came %d", counted(t.count, "alert"), len(came))
		for i := range came {
			say("  came: %s", t.describe(&came[i]))
		}
		return strings.Join(lines, "\n")
	}
	for i := range max(len(t.list), len(came)) {
		switch {
		case i >= len(came):
			say("alert %d is missing: %s", i+1, t.describeWanted(&t.list[i]))
		case i >= len(t.list):
			say("alert %d is not expected: %s", i+1, t.describe(&came[i]))
		default:
			for _, d := range t.differences(&t.list[i], &came[i]) {
				say("alert %d: %s", i+1, d)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// differences are the members in which an alert is not the one expected.
func (t *Test) differences(want *wantAlert, came *Alert) []string {
	var list []string
	differ(&list, "rule", want.rule, came.RuleID)
	if want.at != nil {
		at := t.offset(*want.at)
		differ(&list, "at", &at, t.offset(came.At))
	}
	differ(&list, "key_id", want.keyID, came.KeyID)
	differ(&list, "severity", want.severity, came.Severity)
	differ(&list, "message", want.message, came.Message)
	differ(&list, "hits", want.hits, came.Hits)
	differ(&list, "score", want.score, came.Score)
	return list
}

func differ[T comparable](list *[]string, name string, want *T, came T) {
	if want != nil && *want != came {
		*list = append(*list, fmt.Sprintf("%s: expected %s, came %s", name, shown(*want), shown(came)))
	}
}

// shown quotes texts that may hold spaces.
func shown(v any) string {
	if s, ok := v.(string); ok && (s == "" || strings.ContainsAny(s, " \t\n\"")) {
		return strconv.Quote(s)
	}
	return fmt.Sprint(v)
}

// offset writes a time as the test's events have it.
func (t *Test) offset(at schema.Millis) string {
	if at < t.start {
		return at.String()
	}
	return rules.FormatDuration(at.Time().Sub(t.start.Time()))
}

func (t *Test) describe(a *Alert) string {
	hits := a.Hits
	return t.describeWanted(&wantAlert{
		at: &a.At, rule: &a.RuleID, keyID: &a.KeyID, severity: &a.Severity, message: &a.Message, hits: &hits, score: &a.Score,
	})
}

func (t *Test) describeWanted(a *wantAlert) string {
	var parts []string
	if a.at != nil {
		parts = append(parts, "at "+t.offset(*a.at))
	}
	say(&parts, "rule", a.rule)
	say(&parts, "key_id", a.keyID)
	say(&parts, "severity", a.severity)
	say(&parts, "message", a.message)
	say(&parts, "hits", a.hits)
	say(&parts, "score", a.score)
	return strings.Join(parts, ", ")
}

func say[T any](parts *[]string, name string, v *T) {
	if v != nil {
		*parts = append(*parts, name+" "+shown(*v))
	}
}
