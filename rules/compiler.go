package rules

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// compiled is an expression that is ready to run.
type compiled struct {
	typ      typ
	value    func(*Scope) Value
	test     func(*Scope) bool // the value as a condition; nil when only value knows it
	constant bool              // value is the same for every event
	size     size              // the most that value can have
	place    []step            // in details, when this is a member of them
	field    field             // the event's field that this is, 0 when it is none
}

// typ is what is known about a value's type before it runs.
type typ uint8

const (
	anyType typ = iota
	nilType
	boolType
	numberType
	stringType
	listType
	objectType
)

var typNames = [...]string{"anything", "nil", "a boolean", "a number", "a string", "an array", "a map"}

func (t typ) String() string { return typNames[t] }

// may reports whether a value of type t can be of type want.
func (t typ) may(want typ) bool { return t == want || t == anyType || t == nilType }

// tables are what an expression refers to by number.
type tables struct {
	paths      []path
	aggregates []*Aggregate
}

// path is a place in details.
type path struct {
	key   string // equal for equal steps
	steps []step
}

func (t *tables) path(steps []step) int {
	var key string
	for _, s := range steps {
		key += fmt.Sprintf("%q[%d]", s.name, s.index)
	}
	for i := range t.paths {
		if t.paths[i].key == key {
			return i
		}
	}
	t.paths = append(t.paths, path{key, steps})
	return len(t.paths) - 1
}

func (t *tables) aggregate(a *Aggregate) int {
	for i := range t.aggregates {
		if t.aggregates[i].key == a.key {
			return i
		}
	}
	t.aggregates = append(t.aggregates, a)
	return len(t.aggregates) - 1
}

// compiler makes closures of one expression's syntax tree. It collects errors and goes on, so that a rule's author
// sees all of them.
type compiler struct {
	field  string // of the rule, for errors
	text   string // of the field
	offset int    // of the expression in text, in characters

	tables *tables
	errs   *Errors
	nodes  *int // visited so far, of the whole expression
	meter  *meter

	inAggregate bool // where and value: no aggregates inside
	inValue     bool // an absent source_ip or actor is nil
}

// compileExpression parses and compiles src, which starts at the character offset of the field's text.
func compileExpression(field, text, src string, offset int, t *tables, m *meter, errs *Errors) (compiled, ast.Node) {
	c := &compiler{field: field, text: text, offset: offset, tables: t, meter: m, errs: errs, nodes: new(int)}
	tree, message, at := parse(src)
	if message != "" {
		c.failAt(at, message)
		return constantOf(Value{}), nil
	}
	return c.compile(tree), tree
}

// maxErrors is how many errors of one rule are shown.
const maxErrors = 20

func (c *compiler) failAt(offset int, message string) {
	if len(*c.errs) >= maxErrors {
		return
	}
	*c.errs = append(*c.errs, c.errorAt(offset, message))
}

func (c *compiler) errorAt(offset int, message string) Error {
	e := Error{Field: c.field, Message: message}
	if len(c.text) <= MaxExpression {
		e = e.at(c.text, c.offset+offset)
	}
	return e
}

// fail records an error at n and returns a stand-in that causes no further ones.
func (c *compiler) fail(n ast.Node, format string, args ...any) compiled {
	c.failAt(n.Location().From, fmt.Sprintf(format, args...))
	stand := constantOf(Value{})
	stand.typ, stand.constant = anyType, false
	return stand
}

func constantOf(v Value) compiled {
	t := [...]typ{nilType, boolType, numberType, numberType, stringType, listType, objectType}[v.kind]
	s := scalar
	switch v.kind {
	case KindString:
		s = size{text: float64(len(v.str)), quoted: quoting * float64(len(v.str))}
	case KindList, KindObject:
		s = size{json: float64(len(v.str))}
	default:
	}
	return compiled{typ: t, value: func(*Scope) Value { return v }, constant: true, size: s}
}

func (e compiled) isNilLiteral() bool { return e.constant && e.typ == nilType }

// constantValue is the value of a constant.
func (e compiled) constantValue() Value { return e.value(nil) }

// condition returns the test of e: only true holds.
func (e compiled) condition() func(*Scope) bool {
	if e.test != nil {
		return e.test
	}
	value := e.value
	return func(s *Scope) bool { return value(s).IsTrue() }
}

func testOf(test func(*Scope) bool) compiled {
	return compiled{typ: boolType, test: test, value: func(s *Scope) Value { return Bool(test(s)) }, size: scalar}
}

// compile dispatches on the kinds of nodes that a rule may have: everything else is refused.
func (c *compiler) compile(n ast.Node) compiled {
	// A chained comparison (a < b < c) shares its middle node, so a small tree can be a large walk.
	if *c.nodes++; *c.nodes > maxNodes {
		if *c.nodes == maxNodes+1 {
			return c.fail(n, "the expression is too complex")
		}
		return constantOf(Value{})
	}
	if len(*c.errs) >= maxErrors {
		return constantOf(Value{})
	}
	c.meter.total += nsOperator
	switch n := n.(type) {
	case *ast.NilNode:
		return constantOf(Value{})
	case *ast.BoolNode:
		return constantOf(Bool(n.Value))
	case *ast.IntegerNode:
		return constantOf(Int(int64(n.Value)))
	case *ast.FloatNode:
		return constantOf(Float(n.Value))
	case *ast.StringNode:
		return constantOf(String(n.Value))
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.MapNode:
		return c.mapping(n)
	case *ast.CallNode:
		return c.call(n)
	default:
		return c.refuse(n)
	}
}

// refuse names what the language leaves out.
func (c *compiler) refuse(n ast.Node) compiled {
	switch n := n.(type) {
	case *ast.BuiltinNode:
		return c.fail(n, "%s() is not allowed in a rule: nested predicates are not bounded", n.Name)
	case *ast.VariableDeclaratorNode:
		return c.fail(n, "variables (let) are not allowed in a rule")
	case *ast.SequenceNode:
		return c.fail(n, "a rule is one expression: ';' is not allowed")
	case *ast.PointerNode:
		return c.fail(n, "'#' is not allowed in a rule")
	case *ast.BytesNode:
		return c.fail(n, "byte strings are not allowed in a rule")
	default:
		return c.fail(n, "this is not allowed in a rule")
	}
}
