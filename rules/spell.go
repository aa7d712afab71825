package rules

import (
	"fmt"
	"strconv"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser/operator"
	"github.com/expr-lang/expr/parser/utils"
)

// speller writes expressions in one spelling, whatever spaces, quotes and brackets their authors used. As a key it
// also writes synonyms alike (and, &&; 1, 1.0) and every bracket, so that equal texts mean the same.
type speller struct {
	b     []byte
	asKey bool
}

// spell writes an aggregate. Its window reads as it was written, but in a key it is a number: "24h" and "1d" are one.
func spell(n *ast.CallNode, args aggregateArgs, asKey bool) string {
	s := &speller{asKey: asKey}
	s.b = append(s.b, n.Callee.(*ast.IdentifierNode).Value...)
	s.b = append(s.b, '(')
	separator := ""
	part := func(write func()) {
		s.b = append(s.b, separator...)
		separator = ", "
		write()
	}
	switch {
	case args.literal == "":
	case asKey:
		part(func() { s.b = strconv.AppendInt(s.b, args.window.Milliseconds(), 10) })
	default:
		part(func() { s.b = appendQuoted(s.b, args.literal) })
	}
	for _, n := range []ast.Node{args.value, args.where} {
		if n != nil {
			part(func() { s.node(n) })
		}
	}
	return string(append(s.b, ')'))
}

// spellSource writes value and where of an aggregate as a key: aggregates with one source look at the same events.
func spellSource(args aggregateArgs) string {
	s := &speller{asKey: true}
	if args.value != nil {
		s.node(args.value)
	}
	if args.where != nil {
		s.text(", ")
		s.node(args.where)
	}
	return string(s.b)
}

// appendNumber writes 1.0 as 1.
func appendNumber(b []byte, f float64) []byte {
	if n, ok := wholeNumber(f); ok {
		return strconv.AppendInt(b, n, 10)
	}
	return Float(f).AppendJSON(b)
}

func (s *speller) text(t string) { s.b = append(s.b, t...) }

func (s *speller) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		s.b = strconv.AppendInt(s.b, int64(n.Value), 10)
	case *ast.FloatNode:
		s.b = appendNumber(s.b, n.Value)
	case *ast.StringNode:
		s.b = appendQuoted(s.b, n.Value)
	case *ast.UnaryNode:
		s.unary(n)
	case *ast.BinaryNode:
		s.binary(n)
	case *ast.ChainNode:
		s.node(n.Node)
	case *ast.MemberNode:
		s.member(n)
	case *ast.SliceNode:
		s.slice(n)
	case *ast.ConditionalNode:
		s.bracketed(n.Cond)
		s.text(" ? ")
		s.bracketed(n.Exp1)
		s.text(" : ")
		s.bracketed(n.Exp2)
	case *ast.CallNode:
		s.node(n.Callee)
		s.list("(", n.Arguments, ")")
	case *ast.ArrayNode:
		s.list("[", n.Nodes, "]")
	case *ast.MapNode:
		s.list("{", n.Pairs, "}")
	case *ast.PairNode:
		s.node(n.Key)
		s.text(": ")
		s.node(n.Value)
	default:
		s.text(fmt.Sprint(n))
	}
}

func (s *speller) list(open string, nodes []ast.Node, end string) {
	s.text(open)
	for i, n := range nodes {
		if i > 0 {
			s.text(", ")
		}
		s.node(n)
	}
	s.text(end)
}

// bracketed puts brackets around an operation, none around what binds tightest.
func (s *speller) bracketed(n ast.Node) { s.wrapped(n, needsBrackets(n)) }

func (s *speller) wrapped(n ast.Node, brackets bool) {
	if brackets {
		s.text("(")
		defer s.text(")")
	}
	s.node(n)
}

func needsBrackets(n ast.Node) bool {
	switch n.(type) {
	case *ast.BinaryNode, *ast.ConditionalNode, *ast.UnaryNode:
		return true
	default:
		return false
	}
}

func (s *speller) unary(n *ast.UnaryNode) {
	op := n.Operator
	switch {
	case op == "not" && s.asKey:
		op = "!"
	case op == "not":
		op = "not "
	}
	s.text(op)
	s.bracketed(n.Node)
}

func (s *speller) binary(n *ast.BinaryNode) {
	op := n.Operator
	if s.asKey {
		switch {
		case isAnd(op):
			op = "&&"
		case isOr(op):
			op = "||"
		case op == "^":
			op = "**"
		}
	}
	s.wrapped(n.Left, s.operandNeedsBrackets(n, n.Left, false))
	s.text(" " + op + " ")
	s.wrapped(n.Right, s.operandNeedsBrackets(n, n.Right, true))
}

// operandNeedsBrackets leaves them out where every reader of expr does: a stronger operator inside of a weaker one,
// and a chain of one logical operator.
func (s *speller) operandNeedsBrackets(n *ast.BinaryNode, operand ast.Node, right bool) bool {
	inner, ok := operand.(*ast.BinaryNode)
	if !ok || s.asKey {
		return needsBrackets(operand)
	}
	of, in := operator.Binary[n.Operator], operator.Binary[inner.Operator]
	switch {
	case operator.IsBoolean(n.Operator) && operator.IsBoolean(inner.Operator):
		return right || of.Precedence != in.Precedence
	case n.Operator == "??" || inner.Operator == "??":
		return true
	default:
		return in.Precedence <= of.Precedence
	}
}

func (s *speller) member(n *ast.MemberNode) {
	s.bracketed(n.Node)
	if name, ok := n.Property.(*ast.StringNode); ok && utils.IsValidIdentifier(name.Value) {
		s.text(".")
		s.text(name.Value)
		return
	}
	s.text("[")
	s.node(n.Property)
	s.text("]")
}

func (s *speller) slice(n *ast.SliceNode) {
	s.bracketed(n.Node)
	s.text("[")
	if n.From != nil {
		s.node(n.From)
	}
	s.text(":")
	if n.To != nil {
		s.node(n.To)
	}
	s.text("]")
}
