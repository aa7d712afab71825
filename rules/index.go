package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"

	"keypulse/schema"
)

// needs is what an event must have for an expression to hold: one of the values in the field. No field: it may hold
// for any event.
type needs struct {
	field  field
	values []string
}

// indexedFields are the fields by which expressions are found, the most selective first.
var indexedFields = []field{fieldKeyID, fieldActor, fieldType, fieldSeverity}

// needsOf finds the most selective test of an indexed field among the top-level conjuncts of n.
func needsOf(n ast.Node) needs {
	var best needs
	for _, term := range terms(n, true, nil) {
		found := needsOfTerm(term)
		if found.field == 0 {
			continue
		}
		if best.field == 0 || slices.Index(indexedFields, found.field) < slices.Index(indexedFields, best.field) {
			best = found
		}
	}
	return best
}

// needsOfTerm understands field == "a", field in ["a", "b"], and a chain of || of them over one field.
func needsOfTerm(n ast.Node) needs {
	b, ok := n.(*ast.BinaryNode)
	switch {
	case !ok:
		return needs{}
	case isOr(b.Operator):
		return needsOfAny(terms(n, false, nil))
	case b.Operator == "==":
		left, right := b.Left, b.Right
		if _, ok := left.(*ast.StringNode); ok {
			left, right = right, left
		}
		return needsIn(left, right)
	case b.Operator == "in":
		if list, ok := b.Right.(*ast.ArrayNode); ok {
			return needsIn(b.Left, list.Nodes...)
		}
	}
	return needs{}
}

func needsOfAny(terms []ast.Node) needs {
	var all needs
	for i, term := range terms {
		one := needsOfTerm(term)
		if one.field == 0 || i > 0 && one.field != all.field {
			return needs{}
		}
		all.field = one.field
		all.values = append(all.values, one.values...)
	}
	return all
}

// needsIn is the need for name to have one of the literals; none when it is not an indexed field or they are not
// strings.
func needsIn(name ast.Node, literals ...ast.Node) needs {
	id, ok := name.(*ast.IdentifierNode)
	if !ok || !slices.Contains(indexedFields, fields[id.Value]) {
		return needs{}
	}
	n := needs{field: fields[id.Value]}
	for _, literal := range literals {
		s, ok := literal.(*ast.StringNode)
		if !ok {
			return needs{}
		}
		n.values = append(n.values, s.Value)
	}
	return n
}

const severities = int(schema.Critical) + 1

// index finds, for an event, the numbers of the rules and of the sources that can hold for it, in rising order.
// Event type and severity, which every event has, are merged beforehand; keys and actors when an event has one that
// is named.
type index struct {
	byType map[string]*typeLists
	other  *typeLists // for every type that is not named
	extra  [2]extraIndex
}

// typeLists is what an event type finds.
type typeLists struct {
	name  string
	kinds [2]bySeverity
}

// The two kinds of things that an index finds.
const (
	findRules = iota
	findSources
)

// bySeverity is what is found for each severity; 0 stands for none.
type bySeverity [severities][]int32

// extraIndex is what is found for a key or an actor besides.
type extraIndex struct{ byKey, byActor map[string][]int32 }

// newIndex returns the index of the rules' and the aggregates' needs.
func newIndex(all [2][]needs) index {
	x := index{byType: map[string]*typeLists{}, other: &typeLists{}}
	for _, list := range all {
		for _, n := range list {
			if n.field == fieldType {
				for _, name := range n.values {
					x.byType[name] = &typeLists{name: name}
				}
			}
		}
	}
	for kind, list := range all {
		found := sortNeeds(list)
		x.extra[kind] = extraIndex{found[fieldKeyID], found[fieldActor]}
		always := found[0][""]
		x.other.kinds[kind] = mergeSeverities(always, found[fieldSeverity])
		for name, lists := range x.byType {
			typed := always
			if more := found[fieldType][name]; len(more) > 0 {
				typed = merge(nil, always, more)
			}
			lists.kinds[kind] = mergeSeverities(typed, found[fieldSeverity])
		}
	}
	return x
}

// sortNeeds returns the numbers by field and value; those that need nothing are in field 0 under "".
func sortNeeds(list []needs) map[field]map[string][]int32 {
	found := map[field]map[string][]int32{}
	for _, f := range append([]field{0}, indexedFields...) {
		found[f] = map[string][]int32{}
	}
	for i, n := range list {
		values := distinctStrings(n.values)
		if n.field == 0 {
			values = []string{""}
		}
		for _, value := range values {
			found[n.field][value] = append(found[n.field][value], int32(i))
		}
	}
	return found
}

func distinctStrings(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}

// mergeSeverities adds to list what each severity finds.
func mergeSeverities(list []int32, more map[string][]int32) bySeverity {
	merged := bySeverity{list}
	for i, name := range schema.Severities {
		merged[i+1] = list
		if numbers := more[name]; len(numbers) > 0 {
			merged[i+1] = merge(nil, list, numbers)
		}
	}
	return merged
}

// merge appends two rising lists without a common number to into, in rising order.
func merge(into, a, b []int32) []int32 {
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			into, a = append(into, a[0]), a[1:]
		} else {
			into, b = append(into, b[0]), b[1:]
		}
	}
	into = append(into, a...)
	return append(into, b...)
}

// candidates is room for the merged lists of one event.
type candidates struct{ first, second []int32 }

// lists returns what the type of an event finds.
func (x *index) lists(eventType string) *typeLists {
	if lists, ok := x.byType[eventType]; ok {
		return lists
	}
	return x.other
}

// recentTypes remembers what the latest types have found in one index: there are few types, and a map of many takes longer.
type recentTypes struct {
	index *index
	found [16]*typeLists
}

func (r *recentTypes) lists(x *index, eventType string) *typeLists {
	if r.index != x {
		*r = recentTypes{index: x}
	}
	slot := &r.found[0]
	if n := len(eventType); n > 0 {
		slot = &r.found[(n+int(eventType[0])+int(eventType[n-1]))%len(r.found)]
	}
	if *slot == nil || (*slot).name != eventType {
		lists := x.lists(eventType)
		if lists == x.other {
			return lists
		}
		*slot = lists
	}
	return *slot
}

// find returns the numbers of a kind for the event, for whose type lists are. The list is valid until room is used
// again.
func (x *index) find(kind int, e *schema.Event, lists *typeLists, room *candidates) []int32 {
	list := lists.kinds[kind][min(int(e.Severity), severities-1)]
	extra := &x.extra[kind]
	if len(extra.byKey) > 0 {
		if more := extra.byKey[e.KeyID]; len(more) > 0 {
			room.first = merge(room.first[:0], list, more)
			list = room.first
		}
	}
	if len(extra.byActor) > 0 {
		if more := extra.byActor[e.Actor]; len(more) > 0 {
			room.second = merge(room.second[:0], list, more)
			list = room.second
		}
	}
	return list
}
