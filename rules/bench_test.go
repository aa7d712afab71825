package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"keypulse/schema"
)

// benchEvent is an ordinary event.
func benchEvent() *schema.Event {
	return &schema.Event{
		KeyID: "signing-key-01", Type: "signing_request", Severity: schema.Nominal, SourceIP: "10.0.0.1",
		Actor: "service-account@myapp.com", CreatedAt: 1775392440123, EventID: "0196-e",
		Details: []byte(`{"request_id":"7d0c","chain":"eth","amount_usd":1250.75,"destination":"0xabc","approved":true}`),
	}
}

// BenchmarkRulesEval evaluates sets of which one rule can match the event.
func BenchmarkRulesEval(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			programs := []*Program{mustCompile(b, ruleWhen("match", `event_type == "signing_request" && details.amount_usd > 10000`))}
			for i := range n - 1 {
				when := fmt.Sprintf(`event_type == "type-%d" && details.amount_usd > %d`, i, i)
				programs = append(programs, mustCompile(b, ruleWhen(fmt.Sprintf("other-%d", i), when)))
			}
			benchmarkSet(b, NewSet(programs))
		})
	}
}

// BenchmarkRulesEvalAll evaluates sets all of whose rules are candidates.
func BenchmarkRulesEvalAll(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var programs []*Program
			for i := range n {
				when := fmt.Sprintf(`event_type == "signing_request" && details.amount_usd > %d`, 10000+i)
				programs = append(programs, mustCompile(b, ruleWhen(fmt.Sprintf("rule-%d", i), when)))
			}
			benchmarkSet(b, NewSet(programs))
		})
	}
}

func benchmarkSet(b *testing.B, s *Set) {
	e, scope := benchEvent(), NewScope(nil)
	b.ReportAllocs()
	for b.Loop() {
		s.Eval(e, scope.Begin(s, e), func(*Program) {})
	}
}

// ratio runs two things in turn, a hundred times each in a round, and reports the median round's ratio of their times: a
// noisy machine disturbs some rounds, and both alike.
func ratio(b *testing.B, name string, one, other func()) {
	const each = 100
	timed := func(f func()) float64 {
		begin := time.Now()
		for range each {
			f()
		}
		return float64(time.Since(begin))
	}
	timed(one)
	timed(other)
	var ratios, ones, others []float64
	for b.Loop() {
		x, y := timed(one), timed(other)
		ratios, ones, others = append(ratios, y/x), append(ones, x/each), append(others, y/each)
	}
	for _, list := range [][]float64{ratios, ones, others} {
		slices.Sort(list)
	}
	b.ReportMetric(ones[len(ones)/2], "one-ns")
	b.ReportMetric(others[len(others)/2], "other-ns")
	b.ReportMetric(ratios[len(ratios)/2], name)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPredicate compares a predicate of two terms with expr's virtual machine and its best environment, a map
// that is filled once.
func BenchmarkPredicate(b *testing.B) {
	const when = `event_type == "signing_request" && severity == "nominal"`
	e, p := benchEvent(), mustCompile(b, ruleWhen("r", when))
	s := p.bind(e, Values{})
	env := map[string]any{"event_type": "signing_request", "severity": "nominal"}
	program, err := expr.Compile(when, expr.Env(env), expr.AsBool())
	if err != nil {
		b.Fatal(err)
	}
	var machine vm.VM
	ratio(b, "expr/rules", func() {
		if !p.when(s) {
			b.Fatal("does not hold")
		}
	}, func() {
		if ok, err := machine.Run(program, env); err != nil || ok != true {
			b.Fatal(ok, err)
		}
	})
}

// BenchmarkManyRules compares sets of many rules, of which one can match, with that one alone.
func BenchmarkManyRules(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			programs := []*Program{mustCompile(b, ruleWhen("match", `event_type == "signing_request" && details.amount_usd > 10000`))}
			alone := evaluation(NewSet(programs))
			for i := range n - 1 {
				when := fmt.Sprintf(`event_type == "type-%d" && details.amount_usd > %d`, i, i)
				programs = append(programs, mustCompile(b, ruleWhen(fmt.Sprintf("other-%d", i), when)))
			}
			ratio(b, "many/one", alone, evaluation(NewSet(programs)))
		})
	}
}

// evaluation judges an ordinary event by the set, again and again.
func evaluation(s *Set) func() {
	e, scope := benchEvent(), NewScope(nil)
	return func() { s.Eval(e, scope.Begin(s, e), func(*Program) {}) }
}

func BenchmarkCompile(b *testing.B) {
	r := ruleWhen("r", `event_type == "export" && count("10m", event_type == "export") > 3`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewSet makes the set that a change of one of a thousand rules makes.
func BenchmarkNewSet(b *testing.B) {
	var programs []*Program
	for i := range MaxRules {
		when := fmt.Sprintf(`event_type == "t%d" && count("10m", event_type == "t%d") > 3`, i%100, i%100)
		programs = append(programs, mustCompile(b, ruleWhen(fmt.Sprintf("r%d", i), when)))
	}
	for b.Loop() {
		NewSet(programs)
	}
}

// BenchmarkBookApply reads the records of a thousand rules with three aggregates each, as a start does.
func BenchmarkBookApply(b *testing.B) {
	type record struct{ key, value []byte }
	var records []record
	for i := range MaxRules {
		r, err := Record("acme", threeAggregates(i), 1, "tester", 1000)
		if err != nil {
			b.Fatal(err)
		}
		value, err := json.Marshal(r)
		if err != nil {
			b.Fatal(err)
		}
		records = append(records, record{schema.RecordKey(r.Tenant, r.ID), value})
	}
	for b.Loop() {
		book := NewBook()
		for i, r := range records {
			if err := book.Apply(int64(i), r.key, r.value); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkHash(b *testing.B) {
	v := String("203.0.113.77")
	b.ReportAllocs()
	for b.Loop() {
		v.Hash()
	}
}
