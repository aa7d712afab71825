package rules

import (
	"slices"
	"strings"
	"time"

	"keypulse/schema"
)

// The limits of a tenant.
const (
	MaxRules      = 1000
	MaxAggregates = 500 // different ones, over all rules
)

// Set is the enabled rules of one tenant in the order of their ids, with their aggregates, each once. It is
// immutable: a change of a rule makes a new set.
type Set struct {
	rules      []boundProgram
	numbers    map[*Program]int
	aggregates []*Aggregate
	bindings   []binding // of the aggregates' where and value
	sources    []Source
	paths      []path
	longest    time.Duration

	index index // of the rules and the sources
}

// Source is the numbers of the aggregates, rising, that look at the same events: those with one where and one value, whatever their
// calls and windows.
type Source []int

type boundProgram struct {
	*Program
	binding binding
}

// NewSet returns the set of the programs that are enabled.
func NewSet(programs []*Program) *Set {
	s := &Set{numbers: map[*Program]int{}}
	enabled := slices.DeleteFunc(slices.Clone(programs), func(p *Program) bool { return !p.rule.Enabled })
	slices.SortStableFunc(enabled, func(a, b *Program) int { return strings.Compare(a.rule.ID, b.rule.ID) })
	numbering := &numbering{set: s, paths: map[string]int32{}, aggregates: map[string]int32{}}
	ruleNeeds := make([]needs, 0, len(enabled))
	for i, p := range enabled {
		s.rules = append(s.rules, boundProgram{p, numbering.bind(&p.tables)})
		s.numbers[p] = i
		ruleNeeds = append(ruleNeeds, p.needs)
	}
	s.index = newIndex([2][]needs{findRules: ruleNeeds, findSources: s.findSources()})
	return s
}

// findSources fills sources and returns what each needs.
func (s *Set) findSources() (all []needs) {
	numbers := map[string]int{}
	for i, a := range s.aggregates {
		s.longest = max(s.longest, a.Window)
		n, known := numbers[a.source]
		if !known {
			n = len(s.sources)
			numbers[a.source] = n
			s.sources = append(s.sources, nil)
			all = append(all, a.needs)
		}
		s.sources[n] = append(s.sources[n], i)
	}
	return all
}

// numbering gives a set's numbers to the paths and aggregates of its programs.
type numbering struct {
	set               *Set
	paths, aggregates map[string]int32
}

func (n *numbering) bind(t *tables) binding {
	var b binding
	for _, p := range t.paths {
		number, ok := n.paths[p.key]
		if !ok {
			number = int32(len(n.set.paths))
			n.paths[p.key] = number
			n.set.paths = append(n.set.paths, p)
		}
		b.paths = append(b.paths, number)
	}
	for _, a := range t.aggregates {
		number, ok := n.aggregates[a.key]
		if !ok {
			number = int32(len(n.set.aggregates))
			n.aggregates[a.key] = number
			n.set.aggregates = append(n.set.aggregates, a)
			n.set.bindings = append(n.set.bindings, n.bind(&a.tables))
		}
		b.aggregates = append(b.aggregates, number)
	}
	return b
}

// Programs returns the enabled rules in the order of their ids.
func (s *Set) Programs() []*Program {
	list := make([]*Program, len(s.rules))
	for i := range s.rules {
		list[i] = s.rules[i].Program
	}
	return list
}

// Program returns the enabled rule with an id, nil when there is none.
func (s *Set) Program(id string) *Program {
	i, ok := slices.BinarySearchFunc(s.rules, id, func(p boundProgram, id string) int { return strings.Compare(p.rule.ID, id) })
	if !ok {
		return nil
	}
	return s.rules[i].Program
}

// Len is the number of enabled rules.
func (s *Set) Len() int { return len(s.rules) }

// Aggregates returns the aggregates of all rules, each once. The caller does not change the slice.
func (s *Set) Aggregates() []*Aggregate { return s.aggregates }

// Sources returns the sources of the aggregates, each once. The caller does not change the slice.
func (s *Set) Sources() []Source { return s.sources }

// LongestWindow is the longest window of the aggregates; 0 when there is none.
func (s *Set) LongestWindow() time.Duration { return s.longest }

func (s *Set) has(p *Program) bool {
	_, ok := s.numbers[p]
	return ok
}

// begin returns a scope of its own for the event, whose aggregates are empty.
func (s *Set) begin(e *schema.Event) *Scope { return NewScope(nil).Begin(s, e).scope }

// Eval judges an event: it evaluates the rules that can hold for it, in the order of their ids, and then calls hit
// for each that holds. values are what [Scope.Begin] gave for this set and this event (package window does it); with
// the zero Values all aggregates are empty. A rule that fails is counted, and named by [Values.Failures], and stops no
// other.
func (s *Set) Eval(e *schema.Event, values Values, hit func(*Program)) (errs int) {
	scope := values.scope
	if scope == nil || scope.set != s {
		scope = s.begin(e)
	}
	list := scope.find(findRules)
	scope.hits = scope.hits[:0]
	for next := 0; next < len(list); {
		var failed bool
		if next, failed = s.evalFrom(scope, list, next); failed {
			errs++
		}
	}
	for _, p := range scope.hits {
		hit(p)
	}
	return errs
}

// evalFrom evaluates the rules of list from next on until one fails, and returns where to go on.
func (s *Set) evalFrom(scope *Scope, list []int32, next int) (after int, failed bool) {
	defer func() {
		if cause := recover(); cause != nil {
			scope.fail(s.rules[list[next]].Program, "when", cause)
			after, failed = next+1, true
		}
	}()
	for ; next < len(list); next++ {
		r := &s.rules[list[next]]
		scope.bound = &r.binding
		if r.when(scope) {
			scope.hits = append(scope.hits, r.Program)
		}
	}
	return next, false
}

// Touched returns the numbers of the sources whose where can hold for the event of values, in rising order:
// [Set.Matches] tells whether it does. The list is valid until the next call.
func (s *Set) Touched(values Values) []int32 {
	return values.scope.find(findSources)
}

// Matches reports whether the event is one of source i's. When its where fails, it is not.
func (s *Set) Matches(i int, values Values) (holds bool) {
	first := s.sources[i][0]
	where := s.aggregates[first].where
	if where == nil {
		return true
	}
	// An aggregate may be asked for while a rule runs: what was bound is bound again.
	scope, done := values.scope, false
	bound := scope.bound
	scope.bound = &s.bindings[first]
	defer func() {
		if scope.bound = bound; !done {
			scope.failSource(i, recover())
		}
	}()
	holds = where(scope)
	done = true
	return holds
}

// ValueOf returns what the event gives to source i: nil for one without a value, or whose value fails.
func (s *Set) ValueOf(i int, values Values) (v Value) {
	first := s.sources[i][0]
	value := s.aggregates[first].value
	if value == nil {
		return Value{}
	}
	scope, done := values.scope, false
	bound := scope.bound
	scope.bound = &s.bindings[first]
	defer func() {
		if scope.bound = bound; !done {
			scope.failSource(i, recover())
		}
	}()
	v = value(scope)
	done = true
	return v
}
