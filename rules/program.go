package rules

import (
	"slices"
	"time"
	"unicode/utf8"

	"keypulse/rules/internal/fault"
	"keypulse/schema"
)

// Program is a rule that is ready to run. It is immutable and may be used by any number of goroutines at once.
type Program struct {
	// Version is the rule's version in a [Book], from 1; 0 for a program of no book.
	Version int64

	rule    Rule
	when    func(*Scope) bool
	message []part
	tables  tables
	needs   needs
	meter   meter
}

// Compile checks a rule, its fields and its expressions, and makes it ready to run. The error is [Errors], with
// everything that is wrong.
func Compile(r Rule) (*Program, error) {
	p, errs := compile(r)
	if e, ok := p.meter.tooCostly(); ok && len(errs) == 0 {
		errs = append(errs, e)
	}
	if err := errs.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// compile is Compile, whatever the rule may take.
func compile(r Rule) (*Program, Errors) {
	errs := r.check()
	p := &Program{rule: r}
	if r.When != "" {
		p.compileWhen(&errs)
	}
	if utf8.RuneCountInString(r.Message) <= MaxMessage {
		p.message = compileTemplate(r.Message, &p.tables, &p.meter, &errs)
	}
	if n := len(p.tables.aggregates); n > MaxAggregates {
		errs = append(errs, fieldError("when", "has %d different aggregates; a tenant may have %d", n, MaxAggregates))
	}
	return p, errs
}

// compileWhen compiles the condition, which must be able to be true.
func (p *Program) compileWhen(errs *Errors) {
	text, before := p.rule.When, len(*errs)
	when, tree := compileExpression("when", text, text, 0, &p.tables, &p.meter, errs)
	p.when = when.condition()
	if len(*errs) > before {
		return
	}
	if when.typ == nilType || !when.typ.may(boolType) {
		message := "when must be true or false, not " + when.typ.String()
		*errs = append(*errs, Error{Field: "when", Message: message}.at(text, 0))
		return
	}
	p.needs = needsOf(tree)
	if fails := fault.Of(p.rule.ID); fails != nil { // in tests alone
		when := p.when
		p.when = func(s *Scope) bool {
			if fails(s.event) {
				panic("broken by a test")
			}
			return when(s)
		}
	}
}

// Rule returns the rule that was compiled.
func (p *Program) Rule() Rule { return p.rule }

// Aggregates returns the aggregates of when and message, each once, in the order in which they are written.
func (p *Program) Aggregates() []*Aggregate { return slices.Clone(p.tables.aggregates) }

// WorstBytes is the most memory that the rule's aggregates take for one key, when no other rule shares them.
func (p *Program) WorstBytes() int {
	sum := 0
	for _, a := range p.tables.aggregates {
		sum += a.WorstBytes()
	}
	return sum
}

// WorstTime is the most that the rule takes for one event, its aggregates and its message included: see [MaxTime].
func (p *Program) WorstTime() time.Duration { return p.meter.time() }

// Message returns the rule's message for an event for which it held, at most [MaxRendered] bytes; the rule's name when it
// fails. The values are those that the event's windows gave for a set with the rule; with the zero Values all aggregates are
// empty.
func (p *Program) Message(e *schema.Event, values Values) (text string) {
	s := p.bind(e, values)
	defer func() {
		if cause := recover(); cause != nil {
			s.fail(p, "message", cause)
			text = p.rule.Name
		}
	}()
	return render(p.message, s)
}

// ValuesJSON returns the rule's aggregates and their values as a JSON object, in the order of [Program.Aggregates]; an empty one
// when that fails.
func (p *Program) ValuesJSON(values Values) (object []byte) {
	s := p.bind(&schema.Event{}, values)
	defer func() {
		if cause := recover(); cause != nil {
			s.fail(p, "values", cause)
			object = []byte("{}")
		}
	}()
	b := []byte{'{'}
	for i, a := range p.tables.aggregates {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, a.Text), ':')
		b = s.aggregateValue(i).AppendJSON(b)
	}
	return append(b, '}')
}

// bind returns the scope of the values, bound to the program's expressions.
func (p *Program) bind(e *schema.Event, values Values) *Scope {
	s := values.scope
	if s == nil || !s.set.has(p) {
		s = NewSet([]*Program{p}).begin(e)
	}
	s.bound = &s.set.rules[s.set.numbers[p]].binding
	return s
}
