package rules

import (
	"net/netip"

	"keypulse/schema"
)

// Scope is what expressions see while one event is judged: the event, its details decoded once for each path that
// the set's rules name, and the aggregates of the event's key. It is reused from event to event; one goroutine
// owns it.
type Scope struct {
	aggregate func(i int) Value // the value of the set's aggregate i; nil outside of windows

	event *schema.Event
	set   *Set
	round uint64 // of the caches below: one for each event

	paths      []cached // by the set's numbering
	bound      *binding // of the expression that runs
	created    string   // created_at as text, "" when it was not asked for
	address    netip.Addr
	addressOf  string     // the text that address was parsed from
	lists      *typeLists // what the event's type finds in the set's index; nil when it was not asked for
	types      recentTypes
	candidates candidates
	hits       []*Program
	failures   []Failure // of the event
}

// cached is the value of a path of details in a round.
type cached struct {
	round uint64
	value Value
}

// binding translates the numbers that a program's expressions use into those of a set.
type binding struct {
	paths      []int32
	aggregates []int32
}

// NewScope returns a scope whose aggregates are answered by aggregate: it is called with an index into
// [Set.Aggregates] of the set given to [Scope.Begin], while an expression runs.
func NewScope(aggregate func(i int) Value) *Scope { return &Scope{aggregate: aggregate} }

// Begin starts the event: its values are those of set. The event must not change until the next Begin.
func (s *Scope) Begin(set *Set, e *schema.Event) Values {
	s.event, s.set = e, set
	if len(s.paths) < len(set.paths) { // what other sets left there is of earlier rounds
		s.paths = make([]cached, len(set.paths))
	}
	s.round++
	s.created, s.lists, s.failures = "", nil, s.failures[:0]
	return Values{s}
}

// Values are what the rules of a set see of one event. They are valid until their scope begins the next event.
type Values struct{ scope *Scope }

// At returns the value of aggregate i of the set's [Set.Aggregates] for the event.
func (v Values) At(i int) Value {
	if v.scope.aggregate == nil {
		return v.scope.set.aggregates[i].Empty()
	}
	return v.scope.aggregate(i)
}

// path returns the value of details at the path with the running expression's number local.
func (s *Scope) path(local int) Value {
	i := s.bound.paths[local]
	c := &s.paths[i]
	if c.round != s.round {
		c.round, c.value = s.round, lookup(s.details(), s.set.paths[i].steps)
	}
	return c.value
}

// details is the JSON text of the event's details.
func (s *Scope) details() string {
	text := textOf(s.event.Details)
	if text == "" {
		return schema.EmptyDetails
	}
	return text[skipSpace(text, 0):]
}

// aggregateValue returns the value of the aggregate with the running expression's number local.
func (s *Scope) aggregateValue(local int) Value {
	return Values{s}.At(int(s.bound.aggregates[local]))
}

// createdAt is created_at as the API shows it.
func (s *Scope) createdAt() string {
	if s.created == "" {
		s.created = s.event.CreatedAt.String()
	}
	return s.created
}

// addr parses an address; an IPv4 address mapped into IPv6 is the IPv4 address. The last one is remembered, for
// it is the source_ip most of the time.
func (s *Scope) addr(text string) netip.Addr {
	if text != s.addressOf {
		a, err := netip.ParseAddr(text)
		if err != nil {
			a = netip.Addr{}
		}
		s.address, s.addressOf = a.Unmap().WithZone(""), text
	}
	return s.address
}

// Values returns the values of the event that was begun last.
func (s *Scope) Values() Values { return Values{s} }

// find returns the numbers of the rules or sources that can hold for the event, valid until the next call.
func (s *Scope) find(kind int) []int32 {
	x := &s.set.index
	if s.lists == nil {
		s.lists = s.types.lists(x, s.event.Type)
	}
	return x.find(kind, s.event, s.lists, &s.candidates)
}
