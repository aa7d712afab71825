package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// slow is a condition that takes about a millisecond, over a member of details of its own.
func slow(n int) string { return fmt.Sprintf(`sort(split(details.n%d[:2048], ","))[0] == "a"`, n) }

func TestBudgetAddsUpWhatOneEventFinds(t *testing.T) {
	one := mustCompile(t, ruleWhen("one", slow(0))).WorstTime()
	shared := mustCompile(t, ruleWhen("r", `count("1m", `+slow(0)+`) > 3`))
	f := func(what string, want time.Duration, whens ...string) {
		t.Helper()
		var programs []*Program
		for i, when := range whens {
			programs = append(programs, mustCompile(t, ruleWhen(fmt.Sprint("r", i), when)))
		}
		if got := worstTime(programs); got < want || got > want+want/20+time.Microsecond {
			t.Errorf("%s: %v, want about %v", what, got, want)
		}
	}
	f("rules for every event", 3*one, slow(1), slow(2), slow(3))
	f("rules for two types", 2*one, `event_type == "a" && `+slow(1), `event_type == "a" && `+slow(2), `event_type == "b" && `+slow(3))
	f("a rule for two types", 2*one, `event_type in ["a", "b", "a"] && `+slow(1), `event_type == "b" && `+slow(2))
	f("a type and a severity", 2*one, `event_type == "a" && `+slow(1), `severity == "critical" && `+slow(2))
	f("one aggregate in three rules", shared.WorstTime(), `count("1m", `+slow(0)+`) > 3`, `count("1m", `+slow(0)+`) > 4`, `count("1m", `+slow(0)+`) > 5`)
	off := ruleWhen("off", slow(1))
	off.Enabled = false
	if got := worstTime([]*Program{mustCompile(t, off), nil}); got != 0 {
		t.Errorf("a rule that is switched off takes %v", got)
	}
}

func TestBudgetRefusesWhatRaisesIt(t *testing.T) {
	l := bookLog{t, NewBook()}
	for i := range 3 {
		if err := l.rule("acme", ruleWhen(fmt.Sprint("r", i), slow(i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	one := mustCompile(t, ruleWhen("one", slow(0))).WorstTime()
	budget := 3*one + one/2
	f := func(what, id, when string, good bool) {
		t.Helper()
		err := l.book.FitsBudget("acme", mustCompile(t, ruleWhen(id, when)), budget)
		if (err == nil) != good {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && (!errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "at most "+budget.String()+" is allowed")) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	f("a fourth", "r3", slow(3), false)
	f("another one in the place of the third", "r2", slow(3), true)
	f("a cheap one", "r3", `actor == "a"`, true)
	budget = one
	f("above the budget: the same again", "r2", slow(2), true)
	f("above the budget: less", "r2", `actor == "a"`, true)
	f("above the budget: more", "r3", `actor != "a"`, false)
	off := ruleWhen("r3", slow(3))
	off.Enabled = false
	if err := l.book.FitsBudget("acme", mustCompile(t, off), budget); err != nil {
		t.Errorf("a rule that is switched off: %v", err)
	}
	if err := l.book.FitsBudget("other", mustCompile(t, ruleWhen("r3", slow(3))), budget); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}
