package rules

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// in compiles x in list. nil is in a list that holds nil.
func (c *compiler) in(n *ast.BinaryNode) compiled {
	left := c.compile(n.Left)
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		elements := c.compileAll(list.Nodes)
		ns := nsHash * left.size.text
		for _, e := range elements {
			ns += comparing(left, e)
		}
		c.spend(n, "the operator in", ns)
		return testOf(inList(left, elements))
	}
	right := c.compile(n.Right)
	if !right.typ.may(listType) && !right.typ.may(objectType) {
		return c.fail(n, "the operator in needs an array or a map, not %s", right.typ)
	}
	c.spend(n, "the operator in over up to "+roughBytes(right.size.json), finding(left, right))
	return testOf(func(s *Scope) bool { return contains(right.value(s), left.value(s)) })
}

// inList tests against the elements of a list that is written out.
func inList(left compiled, list []compiled) func(*Scope) bool {
	if allConstant(list) {
		values := make([]Value, len(list))
		for i := range list {
			values[i] = list[i].constantValue()
		}
		return inConstant(left, values)
	}
	return func(s *Scope) bool {
		v := left.value(s)
		for i := range list {
			if same(list[i].value(s), v) {
				return true
			}
		}
		return false
	}
}

func (c *compiler) compileAll(nodes []ast.Node) []compiled {
	list := make([]compiled, len(nodes))
	for i, n := range nodes {
		list[i] = c.compile(n)
	}
	return list
}

func allConstant(list []compiled) bool {
	for i := range list {
		if !list[i].constant {
			return false
		}
	}
	return true
}

// inConstant tests against a literal list; one of strings only, which is the usual one, through a set when it is long.
func inConstant(left compiled, list []Value) func(*Scope) bool {
	const few = 8
	set := make(map[string]struct{}, len(list))
	for _, v := range list {
		if v.kind == KindString {
			set[v.str] = struct{}{}
		}
	}
	if len(list) <= few || len(set) < len(list) {
		return func(s *Scope) bool {
			v := left.value(s)
			for i := range list {
				if same(list[i], v) {
					return true
				}
			}
			return false
		}
	}
	return func(s *Scope) bool {
		v := left.value(s)
		_, ok := set[v.str]
		return ok && v.kind == KindString
	}
}

// contains reports whether v is an element of a list or the name of a member of an object.
func contains(of, v Value) bool {
	if of.kind == KindObject && v.kind == KindString {
		_, found := memberOf(of.str, v.str)
		return found
	}
	if of.kind != KindList {
		return false
	}
	equals := elementEquals(v)
	w, ok := walk(of.str)
	for ok {
		var text string
		if _, text, ok = w.next(); ok && equals(text) {
			return true
		}
	}
	return false
}

// elementEquals returns the test whether an element of a list is v. It writes a list or an object out once, not once for
// each element.
func elementEquals(v Value) func(element string) bool {
	if v.kind != KindList && v.kind != KindObject {
		return func(element string) bool { return same(decodeValue(element), v) }
	}
	wanted := canonical(nil, v)
	var room []byte
	return func(element string) bool {
		if element[0] != v.str[0] {
			return false
		}
		room = canonical(room[:0], decodeValue(element))
		return bytes.Equal(room, wanted)
	}
}

// elements are the JSON texts of a list's elements; none for what is no list.
func elements(list Value) []string {
	if list.kind != KindList {
		return nil
	}
	parts := make([]string, 0, strings.Count(list.str, ",")+1)
	w, ok := walk(list.str)
	for ok {
		var text string
		if _, text, ok = w.next(); ok {
			parts = append(parts, text)
		}
	}
	return parts
}

// joined is the list of elements that are JSON texts.
func joined(parts []string) Value {
	size := len("[]") + len(parts)
	for _, p := range parts {
		size += len(p)
	}
	b := append(make([]byte, 0, size), '[')
	for i, p := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p...)
	}
	return Value{kind: KindList, str: textOf(append(b, ']'))}
}

// listOf encodes a list.
func listOf(values []Value) Value {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = v.AppendJSON(b)
	}
	return Value{kind: KindList, str: textOf(append(b, ']'))}
}

func (c *compiler) array(n *ast.ArrayNode) compiled {
	list := c.compileAll(n.Nodes)
	value := func(s *Scope) Value {
		values := make([]Value, len(list))
		for i := range list {
			values[i] = list[i].value(s)
		}
		return listOf(values)
	}
	if allConstant(list) {
		return constantOf(value(nil))
	}
	return compiled{typ: listType, size: c.spendWriting(n, "this list", list), value: value}
}

// mapping compiles a map: its keys are literals, each comes once.
func (c *compiler) mapping(n *ast.MapNode) compiled {
	names, list := make([]string, len(n.Pairs)), make([]compiled, len(n.Pairs))
	seen := map[string]bool{}
	for i, node := range n.Pairs {
		pair := node.(*ast.PairNode)
		key, ok := pair.Key.(*ast.StringNode)
		if !ok || seen[key.Value] {
			return c.fail(pair.Key, "the keys of a map must be different literals")
		}
		names[i], seen[key.Value] = key.Value, true
		list[i] = c.compile(pair.Value)
	}
	value := func(s *Scope) Value {
		b := []byte{'{'}
		for i := range list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, names[i]), ':')
			b = list[i].value(s).AppendJSON(b)
		}
		return Value{kind: KindObject, str: textOf(append(b, '}'))}
	}
	if allConstant(list) {
		return constantOf(value(nil))
	}
	size := c.spendWriting(n, "this map", list)
	for _, name := range names {
		size.json += float64(len(appendQuoted(nil, name)) + 1)
	}
	return compiled{typ: objectType, size: size, value: value}
}

// slice compiles a[from:to] of a list or, by bytes, of a string, as expr counts: from the end when negative.
func (c *compiler) slice(n *ast.SliceNode) compiled {
	of := c.compile(n.Node)
	if !of.typ.may(listType) && !of.typ.may(stringType) {
		return c.fail(n, "%s has no slices", of.typ)
	}
	bound := func(node ast.Node, otherwise Value) compiled {
		if node == nil {
			return constantOf(otherwise)
		}
		return c.compile(node)
	}
	from, to := bound(n.From, Int(0)), bound(n.To, Int(1<<53))
	size := c.spendBuiltin(n, "take", []compiled{of})
	size.text = min(of.size.text, slicedText(from, to))
	size.quoted = min(of.size.quoted+2*quoting, quoting*size.text)
	return compiled{typ: of.typ, size: size, value: func(s *Scope) Value { return sliceOf(of.value(s), from.value(s), to.value(s)) }}
}

// slicedText is how many bytes of a text are between two bounds, as far as both are literals.
func slicedText(from, to compiled) float64 {
	if !from.constant || !to.constant || from.constantValue().kind != KindInt || to.constantValue().kind != KindInt {
		return math.Inf(1)
	}
	a, b := from.constantValue().int(), to.constantValue().int()
	switch {
	case (a < 0) == (b < 0):
		return float64(max(0, b-a))
	case a < 0 && b >= -a: // the last a bytes, or fewer
		return float64(-a)
	case a < 0:
		return float64(b)
	default:
		return math.Inf(1)
	}
}

func sliceOf(of, from, to Value) Value {
	if from.kind != KindInt || to.kind != KindInt {
		return Value{}
	}
	limits := func(n int64) (int64, int64) {
		place := func(v Value) int64 {
			i := v.int()
			if i < 0 {
				i += n
			}
			return min(max(i, 0), n)
		}
		b := place(to)
		return min(place(from), b), b
	}
	switch of.kind {
	case KindString:
		a, b := limits(int64(len(of.str)))
		return String(of.str[a:b])
	case KindList:
		parts := elements(of)
		a, b := limits(int64(len(parts)))
		return joined(parts[a:b])
	default:
		return Value{}
	}
}

// The limits of a pattern: Go's regular expressions are linear in the text times the size of their program.
const (
	MaxPattern        = 256 // bytes
	maxPatternProgram = 500 // instructions, roughly
)

func (c *compiler) matches(n *ast.BinaryNode) compiled {
	left := c.compile(n.Left)
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok {
		return c.fail(n.Right, "the pattern of matches must be a literal")
	}
	re, err := compilePattern(pattern.Value)
	if err != nil {
		return c.fail(pattern, "%v", err)
	}
	steps, reach := patternCost(pattern.Value)
	bytes := min(left.size.text, reach)
	perStep := float64(nsPattern)
	if steps*bytes > backtracked {
		perStep = nsLongPattern
	}
	c.spend(n, "the operator matches over up to "+roughBytes(bytes), 500+perStep*steps*(bytes+1))
	return testOf(func(s *Scope) bool {
		v := left.value(s)
		return v.kind == KindString && re.MatchString(v.str)
	})
}

// spendWriting adds what writing values into a list or an object takes, and returns its size.
func (c *compiler) spendWriting(n ast.Node, what string, list []compiled) size {
	s, ns := size{json: 2}, 200.0
	for _, e := range list {
		s.json += e.size.written() + 1
		ns += nsQuote*e.size.quoted + nsCopy*e.size.json + 100
	}
	c.spend(n, what, ns)
	return s
}

// compilePattern refuses a pattern that is long or whose repetitions multiply before it is expanded.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > MaxPattern {
		return nil, fmt.Errorf("the pattern has %d bytes; at most %d are allowed", len(pattern), MaxPattern)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is not a regular expression: %w", err)
	}
	if programSize(tree) > maxPatternProgram {
		return nil, fmt.Errorf("the pattern's repetitions are too large")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the pattern is not a regular expression: %w", err)
	}
	return re, nil
}

// programSize estimates the instructions that a pattern compiles to.
func programSize(re *syntax.Regexp) int {
	size := max(1, len(re.Rune))
	if re.Op == syntax.OpCharClass {
		size = 1
	}
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(1, re.Min, re.Max)
	}
	return size
}

// patternCost returns how many instructions a pattern has, each of which may look at each byte of a text, and how many bytes
// it can look at: a pattern that is tied to the beginning reads no further than its longest match.
func patternCost(pattern string) (instructions, reach float64) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, 0
	}
	tree = tree.Simplify()
	program, err := syntax.Compile(tree)
	if err != nil {
		return 0, 0
	}
	reach = math.Inf(1)
	if program.StartCond()&syntax.EmptyBeginText != 0 {
		reach = longestMatch(tree) + utf8.UTFMax
	}
	return float64(len(program.Inst)), reach
}

// longestMatch is how many bytes a pattern can match.
func longestMatch(re *syntax.Regexp) float64 {
	var sum, longest float64
	for _, sub := range re.Sub {
		n := longestMatch(sub)
		sum, longest = sum+n, max(longest, n)
	}
	switch re.Op {
	case syntax.OpLiteral:
		return float64(len(re.Rune) * utf8.UTFMax)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return utf8.UTFMax
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		return math.Inf(1)
	case syntax.OpAlternate:
		return longest
	default:
		return sum
	}
}
