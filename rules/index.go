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

// index finds, for an event, the numbers of the expressions that can hold for it, in rising order. Event type and
// severity, which every event has, are merged beforehand; keys and actors when an event has one that is named.
type index struct {
	byType  map[string]*[severities][]int32
	other   *[severities][]int32 // for every type that is not named
	byKey   map[string][]int32
	byActor map[string][]int32
}

func newIndex(all []needs) index {
	x := index{byType: map[string]*[severities][]int32{}, byKey: map[string][]int32{}, byActor: map[string][]int32{}}
	var always []int32
	bySeverity := [severities][]int32{}
	byType := map[string][]int32{}
	for i, n := range all {
		number := int32(i)
		switch n.field {
		case 0:
			always = append(always, number)
		case fieldSeverity:
			for _, name := range distinctStrings(n.values) {
				severity, _ := schema.ParseSeverity(name)
				bySeverity[severity] = append(bySeverity[severity], number)
			}
		default:
			to := map[field]map[string][]int32{fieldKeyID: x.byKey, fieldActor: x.byActor, fieldType: byType}[n.field]
			for _, value := range distinctStrings(n.values) {
				to[value] = append(to[value], number)
			}
		}
	}
	x.other = mergeSeverities(always, &bySeverity)
	for name, list := range byType {
		x.byType[name] = mergeSeverities(merge(nil, always, list), &bySeverity)
	}
	return x
}

func distinctStrings(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}

// mergeSeverities adds to list what each severity finds. The severity 0 finds nothing.
func mergeSeverities(list []int32, bySeverity *[severities][]int32) *[severities][]int32 {
	var merged [severities][]int32
	for severity := range merged {
		merged[severity] = list
		if more := bySeverity[severity]; severity > 0 && len(more) > 0 {
			merged[severity] = merge(nil, list, more)
		}
	}
	return &merged
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

// find returns the numbers for the event. The list is valid until room is used again.
func (x *index) find(e *schema.Event, room *candidates) []int32 {
	lists, ok := x.byType[e.Type]
	if !ok {
		lists = x.other
	}
	list := lists[min(int(e.Severity), severities-1)]
	if len(x.byKey) > 0 {
		if more := x.byKey[e.KeyID]; len(more) > 0 {
			room.first = merge(room.first[:0], list, more)
			list = room.first
		}
	}
	if len(x.byActor) > 0 {
		if more := x.byActor[e.Actor]; len(more) > 0 {
			room.second = merge(room.second[:0], list, more)
			list = room.second
		}
	}
	return list
}
