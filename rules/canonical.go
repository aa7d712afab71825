package rules

import (
	"slices"
	"strings"
)

// canonical appends the value so that equal values, and only they, are equal bytes: members by name, no spaces,
// numbers in one form.
func canonical(b []byte, v Value) []byte {
	switch v.kind {
	case KindFloat:
		if n, ok := wholeNumber(v.float()); ok {
			return Int(n).AppendJSON(b)
		}
		return v.AppendJSON(b)
	case KindList:
		b = append(b, '[')
		eachElement(v.str, func(s string) { b = append(canonical(b, decodeValue(s)), ',') })
		return append(b, ']')
	case KindObject:
		return canonicalObject(b, v.str)
	default:
		return v.AppendJSON(b)
	}
}

func canonicalObject(b []byte, s string) []byte {
	type pair struct{ name, value string }
	var pairs []pair
	eachMember(s, func(name, value string) { pairs = append(pairs, pair{name, value}) })
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	b = append(b, '{')
	for _, p := range pairs {
		b = append(appendQuoted(b, p.name), ':')
		b = append(canonical(b, decodeValue(p.value)), ',')
	}
	return append(b, '}')
}
