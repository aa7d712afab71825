package rules

import (
	"encoding/base64"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// builtinCall is a function of expr that a rule may use: it is deterministic, and its result is at most a small factor
// larger than its arguments. It gives nil where expr would fail.
type builtinCall struct {
	least, most int
	typ         typ // of the result
	call        func(args []Value) Value
}

// builtins are the allowed builtins of expr. count, sum, min and max are aggregates in a rule.
var builtins = map[string]builtinCall{
	"len":         {1, 1, numberType, func(a []Value) Value { return lengthOf(a[0]) }},
	"type":        {1, 1, stringType, func(a []Value) Value { return String(kindNames[a[0].kind]) }},
	"abs":         {1, 1, numberType, func(a []Value) Value { return absolute(a[0]) }},
	"ceil":        {1, 1, numberType, func(a []Value) Value { return rounded(a[0], math.Ceil) }},
	"floor":       {1, 1, numberType, func(a []Value) Value { return rounded(a[0], math.Floor) }},
	"round":       {1, 1, numberType, func(a []Value) Value { return rounded(a[0], math.Round) }},
	"int":         {1, 1, numberType, func(a []Value) Value { return toInt(a[0]) }},
	"float":       {1, 1, numberType, func(a []Value) Value { return toFloat(a[0]) }},
	"string":      {1, 1, stringType, func(a []Value) Value { return toString(a[0]) }},
	"trim":        {1, 2, stringType, trim(strings.TrimSpace, strings.Trim)},
	"trimPrefix":  {1, 2, stringType, trim(func(s string) string { return strings.TrimPrefix(s, " ") }, strings.TrimPrefix)},
	"trimSuffix":  {1, 2, stringType, trim(func(s string) string { return strings.TrimSuffix(s, " ") }, strings.TrimSuffix)},
	"upper":       {1, 1, stringType, mapped(strings.ToUpper)},
	"lower":       {1, 1, stringType, mapped(strings.ToLower)},
	"split":       {2, 3, listType, split(strings.SplitN)},
	"splitAfter":  {2, 3, listType, split(strings.SplitAfterN)},
	"indexOf":     {2, 2, numberType, found(strings.Index)},
	"lastIndexOf": {2, 2, numberType, found(strings.LastIndex)},
	"hasPrefix":   {2, 2, boolType, tested(strings.HasPrefix)},
	"hasSuffix":   {2, 2, boolType, tested(strings.HasSuffix)},
	"fromBase64":  {1, 1, stringType, func(a []Value) Value { return fromBase64(a[0]) }},
	"first":       {1, 1, anyType, func(a []Value) Value { return memberValue(a[0], Int(0)) }},
	"last":        {1, 1, anyType, func(a []Value) Value { return memberValue(a[0], Int(-1)) }},
	"get":         {2, 2, anyType, func(a []Value) Value { return memberValue(a[0], a[1]) }},
	"take":        {2, 2, listType, func(a []Value) Value { return take(a[0], a[1]) }},
	"keys":        {1, 1, listType, func(a []Value) Value { return membersOf(a[0], true) }},
	"values":      {1, 1, listType, func(a []Value) Value { return membersOf(a[0], false) }},
	"reverse":     {1, 1, listType, listed(reverse)},
	"uniq":        {1, 1, listType, listed(unique)},
	"sort":        {1, 2, listType, sorted},
	"concat":      {1, 8, listType, concat},
	"flatten":     {1, 1, listType, listed(flatten)},
	"mean":        {1, 8, numberType, func(a []Value) Value { return mean(numbersIn(a)) }},
	"median":      {1, 8, numberType, func(a []Value) Value { return median(numbersIn(a)) }},
	"bitand":      {2, 2, numberType, bitwise(func(x, y int64) Value { return Int(x & y) })},
	"bitor":       {2, 2, numberType, bitwise(func(x, y int64) Value { return Int(x | y) })},
	"bitxor":      {2, 2, numberType, bitwise(func(x, y int64) Value { return Int(x ^ y) })},
	"bitnand":     {2, 2, numberType, bitwise(func(x, y int64) Value { return Int(x &^ y) })},
	"bitnot":      {1, 1, numberType, func(a []Value) Value { return bitwise(func(x, _ int64) Value { return Int(^x) })([]Value{a[0], a[0]}) }},
	"bitshl":      {2, 2, numberType, shift(func(x int64, n uint64) int64 { return x << n })},
	"bitshr":      {2, 2, numberType, shift(func(x int64, n uint64) int64 { return x >> n })},
	"bitushr":     {2, 2, numberType, shift(func(x int64, n uint64) int64 { return int64(uint64(x) >> n) })},
}

// builtin compiles a call of one of the builtins. Few rules use them; each call has a small list of its own.
func (c *compiler) builtin(n *ast.CallNode) compiled {
	name := n.Callee.(*ast.IdentifierNode).Value
	b := builtins[name]
	args := make([]compiled, len(n.Arguments))
	for i, node := range n.Arguments {
		args[i] = c.compile(node)
	}
	call, size := b.call, c.spendBuiltin(n, name, args)
	value := func(s *Scope) Value {
		var room [8]Value
		for i := range args {
			room[i] = args[i].value(s)
		}
		return call(room[:len(args)])
	}
	if b.typ == boolType {
		return testOf(func(s *Scope) bool { return value(s).IsTrue() })
	}
	return compiled{typ: b.typ, size: size, value: value}
}

// lengthOf counts the characters of a string, the elements of a list, the members of an object.
func lengthOf(v Value) Value {
	switch v.kind {
	case KindString:
		return Int(int64(utf8.RuneCountInString(v.str)))
	case KindList, KindObject:
		return Int(int64(length(v.str)))
	default:
		return Value{}
	}
}

func absolute(v Value) Value {
	if f, ok := v.Number(); ok && f < 0 {
		return negate(v)
	}
	return plus(v)
}

func rounded(v Value, round func(float64) float64) Value {
	f, ok := v.Number()
	if !ok {
		return Value{}
	}
	return Float(round(f))
}

func toInt(v Value) Value {
	switch v.kind {
	case KindInt:
		return v
	case KindFloat:
		if n, ok := wholeNumber(math.Trunc(v.float())); ok {
			return Int(n)
		}
	case KindString:
		if n, err := strconv.ParseInt(v.str, 10, 64); err == nil {
			return Int(n)
		}
	default:
	}
	return Value{}
}

func toFloat(v Value) Value {
	if f, ok := v.Number(); ok {
		return Float(f)
	}
	if f, err := strconv.ParseFloat(v.str, 64); err == nil && v.kind == KindString {
		return Float(f)
	}
	return Value{}
}

// toString writes a scalar. The text of a list would double its backslashes with every nesting: it is nil.
func toString(v Value) Value {
	switch v.kind {
	case KindBool, KindInt, KindFloat:
		return String(string(v.AppendJSON(nil)))
	case KindString:
		return v
	default:
		return Value{}
	}
}

func mapped(f func(string) string) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != KindString {
			return Value{}
		}
		return String(f(a[0].str))
	}
}

func trim(one func(string) string, two func(s, cut string) string) func([]Value) Value {
	return func(a []Value) Value {
		switch {
		case a[0].kind != KindString || len(a) == 2 && a[1].kind != KindString:
			return Value{}
		case len(a) == 2:
			return String(two(a[0].str, a[1].str))
		default:
			return String(one(a[0].str))
		}
	}
}

func split(f func(s, separator string, n int) []string) func([]Value) Value {
	return func(a []Value) Value {
		n := Int(-1)
		if len(a) == 3 {
			n = a[2]
		}
		if a[0].kind != KindString || a[1].kind != KindString || n.kind != KindInt {
			return Value{}
		}
		parts := f(a[0].str, a[1].str, int(n.int()))
		b := append(make([]byte, 0, len(a[0].str)+3*len(parts)+2), '[')
		for i, part := range parts {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, part)
		}
		return Value{kind: KindList, str: textOf(append(b, ']'))}
	}
}

func found(f func(s, part string) int) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != KindString || a[1].kind != KindString {
			return Value{}
		}
		return Int(int64(f(a[0].str, a[1].str)))
	}
}

func tested(f func(s, part string) bool) func([]Value) Value {
	return func(a []Value) Value {
		return Bool(a[0].kind == KindString && a[1].kind == KindString && f(a[0].str, a[1].str))
	}
}

func fromBase64(v Value) Value {
	b, err := base64.StdEncoding.DecodeString(v.str)
	if err != nil || v.kind != KindString {
		return Value{}
	}
	return String(string(b))
}

func take(list, n Value) Value {
	if list.kind != KindList || n.kind != KindInt || n.int() < 0 {
		return Value{}
	}
	return sliceOf(list, Int(0), n)
}

// membersOf lists the names or the values of an object in the order in which it was written.
func membersOf(v Value, names bool) Value {
	if v.kind != KindObject {
		return Value{}
	}
	parts := make([]string, 0, strings.Count(v.str, ",")+1)
	w, ok := walk(v.str)
	for ok {
		var name, value string
		if name, value, ok = w.next(); !ok {
			break
		}
		if names {
			value = `"` + name + `"`
		}
		parts = append(parts, value)
	}
	return joined(parts)
}

// listed applies f to the JSON texts of the elements of a list.
func listed(f func([]string) []string) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != KindList {
			return Value{}
		}
		return joined(f(elements(a[0])))
	}
}

func reverse(parts []string) []string {
	slices.Reverse(parts)
	return parts
}

// unique keeps the first of each value.
func unique(parts []string) []string {
	var b []byte
	ends := make([]int, len(parts))
	for i, part := range parts {
		b, _ = canonicalAt(b, part, 0)
		ends[i] = len(b)
	}
	all, from := textOf(b), 0
	seen := make(map[string]struct{}, len(parts))
	kept := parts[:0]
	for i, part := range parts {
		key := all[from:ends[i]]
		from = ends[i]
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			kept = append(kept, part)
		}
	}
	return kept
}

// flatten puts the elements of lists in a list, however deep, in their place.
func flatten(parts []string) []string {
	var flat []string
	for _, part := range parts {
		if part[0] == '[' {
			flat = appendFlat(flat, part)
		} else {
			flat = append(flat, part)
		}
	}
	return flat
}

// appendFlat appends what is in a list and in the lists in it. It reads each byte once.
func appendFlat(flat []string, text string) []string {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '[' || c == ']' || c == ',' || isSpace(c):
			i++
		default:
			end := skipValue(text, i)
			if end < 0 {
				return flat
			}
			flat = append(flat, text[i:end])
			i = end
		}
	}
	return flat
}

// sorted orders numbers or strings; a list of anything else is nil, and so is one in an order besides "asc" and "desc".
func sorted(a []Value) Value {
	descending := len(a) == 2 && a[1].kind == KindString && a[1].str == "desc"
	if a[0].kind != KindList || len(a) == 2 && !descending && (a[1].kind != KindString || a[1].str != "asc") {
		return Value{}
	}
	type element struct {
		value Value
		text  string
	}
	parts := elements(a[0])
	list := make([]element, len(parts))
	for i, part := range parts {
		list[i] = element{decodeValue(part), part}
		if _, ok := compare(list[0].value, list[i].value); i > 0 && !ok {
			return Value{}
		}
	}
	slices.SortFunc(list, func(x, y element) int {
		order, _ := compare(x.value, y.value)
		return order
	})
	for i := range list {
		parts[i] = list[i].text
	}
	if descending {
		slices.Reverse(parts)
	}
	return joined(parts)
}

func concat(a []Value) Value {
	var all []string
	for _, v := range a {
		if v.kind != KindList {
			return Value{}
		}
		if inside := strings.TrimSpace(v.str[1 : len(v.str)-1]); inside != "" {
			all = append(all, inside)
		}
	}
	return joined(all)
}

// numbersIn collects the numbers of the arguments and of the lists among them; false when something is no number.
func numbersIn(args []Value) ([]float64, bool) {
	var list []float64
	for _, v := range args {
		if v.kind != KindList {
			f, ok := v.Number()
			if !ok {
				return nil, false
			}
			list = append(list, f)
			continue
		}
		for _, text := range appendFlat(nil, v.str) {
			f, ok := decodeValue(text).Number()
			if !ok {
				return nil, false
			}
			list = append(list, f)
		}
	}
	return list, len(list) > 0
}

func mean(list []float64, ok bool) Value {
	if !ok {
		return Value{}
	}
	var sum float64
	for _, f := range list {
		sum += f
	}
	return Float(sum / float64(len(list)))
}

func median(list []float64, ok bool) Value {
	if !ok {
		return Value{}
	}
	slices.Sort(list)
	n := len(list)
	if n%2 == 1 {
		return Float(list[n/2])
	}
	return Float((list[n/2-1] + list[n/2]) / 2)
}

func bitwise(f func(x, y int64) Value) func([]Value) Value {
	return func(a []Value) Value {
		if !ints(a[0], a[1]) {
			return Value{}
		}
		return f(a[0].int(), a[1].int())
	}
}

func shift(f func(x int64, n uint64) int64) func([]Value) Value {
	return func(a []Value) Value {
		if !ints(a[0], a[1]) || a[1].int() < 0 || a[1].int() >= bits.UintSize {
			return Value{}
		}
		return Int(f(a[0].int(), uint64(a[1].int())))
	}
}
