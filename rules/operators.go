package rules

import (
	"strings"

	"github.com/expr-lang/expr/ast"

	"keypulse/schema"
)

func (c *compiler) unary(n *ast.UnaryNode) compiled {
	e := c.compile(n.Node)
	switch n.Operator {
	case "!", "not":
		if !e.typ.may(boolType) {
			return c.fail(n, "the operator %s needs a boolean, not %s", n.Operator, e.typ)
		}
		test := e.condition()
		return testOf(func(s *Scope) bool { return !test(s) })
	case "-", "+":
		if !e.typ.may(numberType) {
			return c.fail(n, "the operator %s needs a number, not %s", n.Operator, e.typ)
		}
		operate := plus
		if n.Operator == "-" {
			operate = negate
		}
		if e.constant {
			return constantOf(operate(e.constantValue()))
		}
		return compiled{typ: numberType, size: scalar, value: func(s *Scope) Value { return operate(e.value(s)) }}
	default:
		return c.fail(n, "the operator %s is not allowed in a rule", n.Operator)
	}
}

func (c *compiler) binary(n *ast.BinaryNode) compiled {
	switch n.Operator {
	case "and", "&&", "or", "||":
		return c.logic(n)
	case "==", "!=":
		return c.equality(n)
	case "<", "<=", ">", ">=":
		return c.ordering(n)
	case "in":
		return c.in(n)
	case "contains", "startsWith", "endsWith":
		return c.textual(n)
	case "matches":
		return c.matches(n)
	case "+", "-", "*", "/", "%", "**", "^":
		return c.arithmetic(n)
	case "??":
		return c.coalesce(n)
	case "..":
		return c.fail(n, "ranges (..) are not allowed in a rule")
	default:
		return c.fail(n, "the operator %s is not allowed in a rule", n.Operator)
	}
}

// logic compiles a chain of one operator (a && b && c) to one loop over its terms.
func (c *compiler) logic(n *ast.BinaryNode) compiled {
	and := isAnd(n.Operator)
	var tests []func(*Scope) bool
	for _, term := range terms(n, and, nil) {
		e := c.compile(term)
		if !e.typ.may(boolType) {
			return c.fail(term, "the operator %s needs booleans, not %s", n.Operator, e.typ)
		}
		tests = append(tests, e.condition())
	}
	if and {
		return testOf(allOf(tests))
	}
	return testOf(anyOf(tests))
}

func isAnd(operator string) bool { return operator == "and" || operator == "&&" }
func isOr(operator string) bool  { return operator == "or" || operator == "||" }

// terms appends the operands of a chain of && (or of ||) to list, from left to right. It goes down the left side
// in a loop: a long chain leans that way.
func terms(n ast.Node, and bool, list []ast.Node) []ast.Node {
	var right []ast.Node
	for {
		b, ok := n.(*ast.BinaryNode)
		if !ok || and && !isAnd(b.Operator) || !and && !isOr(b.Operator) {
			break
		}
		right = append(right, b.Right)
		n = b.Left
	}
	list = append(list, n)
	for i := len(right) - 1; i >= 0; i-- {
		list = append(list, right[i])
	}
	return list
}

func allOf(tests []func(*Scope) bool) func(*Scope) bool {
	first, second := tests[0], tests[1]
	if len(tests) == 2 {
		return func(s *Scope) bool { return first(s) && second(s) }
	}
	return func(s *Scope) bool {
		for _, test := range tests {
			if !test(s) {
				return false
			}
		}
		return true
	}
}

func anyOf(tests []func(*Scope) bool) func(*Scope) bool {
	first, second := tests[0], tests[1]
	if len(tests) == 2 {
		return func(s *Scope) bool { return first(s) || second(s) }
	}
	return func(s *Scope) bool {
		for _, test := range tests {
			if test(s) {
				return true
			}
		}
		return false
	}
}

// equality compiles == and !=. Compared with the literal nil they ask whether there is a value; otherwise nil, and
// two types that do not compare, make both false.
func (c *compiler) equality(n *ast.BinaryNode) compiled {
	left, right := c.compile(n.Left), c.compile(n.Right)
	wanted := n.Operator == "=="
	switch {
	case right.isNilLiteral():
		return testOf(func(s *Scope) bool { return left.value(s).IsNil() == wanted })
	case left.isNilLiteral():
		return testOf(func(s *Scope) bool { return right.value(s).IsNil() == wanted })
	case left.field != 0 && right.constant && right.typ == stringType:
		return testOf(fieldIs(left.field, right.constantValue().str, wanted))
	case right.field != 0 && left.constant && left.typ == stringType:
		return testOf(fieldIs(right.field, left.constantValue().str, wanted))
	}
	c.spend(n, "the operator "+n.Operator, comparing(left, right))
	return testOf(func(s *Scope) bool {
		same, ok := equal(left.value(s), right.value(s))
		return ok && same == wanted
	})
}

// fieldIs compares a field with a literal: the commonest test of all, so each common field has its own closure.
func fieldIs(f field, text string, wanted bool) func(*Scope) bool {
	switch f {
	case fieldType:
		return func(s *Scope) bool { return (s.event.Type == text) == wanted }
	case fieldKeyID:
		return func(s *Scope) bool { return (s.event.KeyID == text) == wanted }
	case fieldActor:
		return func(s *Scope) bool { return (s.event.Actor == text) == wanted }
	case fieldSeverity:
		severity, _ := schema.ParseSeverity(text)
		return func(s *Scope) bool { return (s.event.Severity == severity) == wanted }
	default:
		return func(s *Scope) bool { return (f.text(s) == text) == wanted }
	}
}

func (c *compiler) ordering(n *ast.BinaryNode) compiled {
	left, right := c.compile(n.Left), c.compile(n.Right)
	c.spend(n, "the operator "+n.Operator, nsOperator+nsCompare*min(left.size.text, right.size.text))
	less, same, more := false, n.Operator == "<=" || n.Operator == ">=", false
	if n.Operator[0] == '<' {
		less = true
	} else {
		more = true
	}
	holds := [3]bool{less, same, more}
	if right.constant && right.typ == numberType && right.constantValue().kind == KindInt {
		return testOf(orderedToInt(left.value, right.constantValue(), holds))
	}
	return testOf(func(s *Scope) bool {
		order, ok := compare(left.value(s), right.value(s))
		return ok && holds[order+1]
	})
}

// orderedToInt is the comparison with an integer literal, which is what most rules about aggregates end with.
func orderedToInt(left func(*Scope) Value, right Value, holds [3]bool) func(*Scope) bool {
	less, same, more := holds[0], holds[1], holds[2]
	limit := right.int()
	return func(s *Scope) bool {
		v := left(s)
		if v.kind == KindInt {
			n := v.int()
			return n < limit && less || n == limit && same || n > limit && more
		}
		if v.kind == KindFloat {
			return holds[compareFloatInt(v.float(), limit)+1]
		}
		return false
	}
}

func (c *compiler) textual(n *ast.BinaryNode) compiled {
	left, right := c.compile(n.Left), c.compile(n.Right)
	operate := map[string]func(s, part string) bool{
		"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
	}[n.Operator]
	bytes := left.size.text + right.size.text
	c.spend(n, "the operator "+n.Operator+" over up to "+roughBytes(bytes), nsOperator+nsSearch*bytes)
	return testOf(func(s *Scope) bool {
		l, r := left.value(s), right.value(s)
		return l.kind == KindString && r.kind == KindString && operate(l.str, r.str)
	})
}

func (c *compiler) coalesce(n *ast.BinaryNode) compiled {
	left, right := c.compile(n.Left), c.compile(n.Right)
	t := left.typ
	if t == nilType || t != right.typ {
		t = anyType
	}
	return compiled{typ: t, size: larger(left.size, right.size), value: func(s *Scope) Value {
		if v := left.value(s); !v.IsNil() {
			return v
		}
		return right.value(s)
	}}
}

func (c *compiler) conditional(n *ast.ConditionalNode) compiled {
	cond, yes, no := c.compile(n.Cond), c.compile(n.Exp1), c.compile(n.Exp2)
	if !cond.typ.may(boolType) {
		return c.fail(n.Cond, "a condition must be a boolean, not %s", cond.typ)
	}
	t := yes.typ
	if t != no.typ {
		t = anyType
	}
	test := cond.condition()
	return compiled{typ: t, size: larger(yes.size, no.size), value: func(s *Scope) Value {
		if test(s) {
			return yes.value(s)
		}
		return no.value(s)
	}}
}
