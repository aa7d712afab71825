// Package rules is KeyPulse's rule language: boolean expressions over one event and the windowed aggregates of the
// event's key, compiled once and evaluated for every event.
//
// The invariant it keeps: a rule that compiles never fails. An absent field is nil, nil never is an error, and every
// operation that is left in the language is bounded and deterministic, so that the same events in the same order
// give the same hits on every machine. expr-lang parses; the guard, the checks and the evaluator (closures over the
// syntax tree) are here. The package has no clock, no I/O, no goroutine and no logger; it imports only package
// schema, expr, jsontext to write strings and, for rule files, go-yaml.
//
//	p, err := rules.Compile(r)                   // err is Errors: line, column, caret, suggestion
//	set := rules.NewSet([]*rules.Program{p})     // immutable; equal aggregates shared
//	t, values := windows.Observe(set, &event)    // package window keeps the aggregates
//	set.Eval(&event, values, func(p *rules.Program) { … p.Message(&event, values) … })
//
// A Book keeps every version of every tenant's rules in the order of the rules topic and answers which were in force
// at any revision.
package rules
