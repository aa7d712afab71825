package rules

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/expr-lang/expr/ast"
)

// in compiles x in list. nil is in a list that holds nil.
func (c *compiler) in(n *ast.BinaryNode) compiled {
	left := c.compile(n.Left)
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		return testOf(inList(left, c.compileAll(list.Nodes)))
	}
	right := c.compile(n.Right)
	if !right.typ.may(listType) && !right.typ.may(objectType) {
		return c.fail(n, "the operator in needs an array or a map, not %s", right.typ)
	}
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
	w, ok := walk(of.str)
	for ok {
		var text string
		if _, text, ok = w.next(); ok && same(decodeValue(text), v) {
			return true
		}
	}
	return false
}

// elements decodes a list; nil for what is none.
func elements(list Value) []Value {
	var values []Value
	if list.kind == KindList {
		eachElement(list.str, func(text string) { values = append(values, decodeValue(text)) })
	}
	return values
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
	return Value{kind: KindList, str: string(append(b, ']'))}
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
	return compiled{typ: listType, value: value}
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
		return Value{kind: KindObject, str: string(append(b, '}'))}
	}
	if allConstant(list) {
		return constantOf(value(nil))
	}
	return compiled{typ: objectType, value: value}
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
	return compiled{typ: of.typ, value: func(s *Scope) Value { return sliceOf(of.value(s), from.value(s), to.value(s)) }}
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
		values := elements(of)
		a, b := limits(int64(len(values)))
		return listOf(values[a:b])
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
	return testOf(func(s *Scope) bool {
		v := left.value(s)
		return v.kind == KindString && re.MatchString(v.str)
	})
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
