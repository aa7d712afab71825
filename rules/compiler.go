package rules

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"

	"keypulse/schema"
)

// compiled is an expression that is ready to run.
type compiled struct {
	typ      typ
	value    func(*Scope) Value
	test     func(*Scope) bool // the value as a condition; nil when only value knows it
	constant bool              // value is the same for every event
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

	inAggregate bool // where and value: no aggregates inside
	inValue     bool // an absent source_ip or actor is nil
}

// compileExpression parses and compiles src, which starts at the character offset of the field's text.
func compileExpression(field, text, src string, offset int, t *tables, errs *Errors) (compiled, ast.Node) {
	c := &compiler{field: field, text: text, offset: offset, tables: t, errs: errs, nodes: new(int)}
	tree, message, at := parse(src)
	if message != "" {
		c.failAt(at, message)
		return constantOf(Value{}), nil
	}
	return c.compile(tree), tree
}

func (c *compiler) failAt(offset int, message string) {
	e := Error{Field: c.field, Message: message}
	if len(c.text) <= MaxExpression {
		e = e.at(c.text, c.offset+offset)
	}
	*c.errs = append(*c.errs, e)
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
	return compiled{typ: t, value: func(*Scope) Value { return v }, constant: true}
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
	return compiled{typ: boolType, test: test, value: func(s *Scope) Value { return Bool(test(s)) }}
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

// field is a field of the event that holds a string.
type field uint8

const (
	fieldKeyID field = iota + 1
	fieldType
	fieldSeverity
	fieldSourceIP
	fieldActor
	fieldCreatedAt
	fieldEventID
)

const detailsName = "details"

var fields = map[string]field{
	"key_id": fieldKeyID, "event_type": fieldType, "severity": fieldSeverity, "source_ip": fieldSourceIP,
	"actor": fieldActor, "created_at": fieldCreatedAt, "event_id": fieldEventID,
}

// eventFields are the names of the event's fields, in the order of the specification.
var eventFields = []string{
	"key_id", "event_type", "severity", "source_ip", "actor", detailsName, "created_at", "event_id",
}

// text reads the field.
func (f field) text(s *Scope) string {
	switch f {
	case fieldKeyID:
		return s.event.KeyID
	case fieldType:
		return s.event.Type
	case fieldSeverity:
		return severityName(s.event.Severity)
	case fieldSourceIP:
		return s.event.SourceIP
	case fieldActor:
		return s.event.Actor
	case fieldCreatedAt:
		return s.createdAt()
	default:
		return s.event.EventID
	}
}

func severityName(severity schema.Severity) string {
	if severity < schema.Nominal || severity > schema.Critical {
		return ""
	}
	return schema.Severities[severity-1]
}

func (c *compiler) identifier(n *ast.IdentifierNode) compiled {
	if n.Value == detailsName {
		return c.detail(objectType, nil)
	}
	f, ok := fields[n.Value]
	switch {
	case ok && c.inValue && (f == fieldSourceIP || f == fieldActor):
		return compiled{typ: stringType, value: func(s *Scope) Value {
			if text := f.text(s); text != "" {
				return String(text)
			}
			return Value{}
		}}
	case ok:
		return compiled{typ: stringType, field: f, value: func(s *Scope) Value { return String(f.text(s)) }}
	case strings.HasPrefix(n.Value, "$"):
		return c.fail(n, "%s is not allowed in a rule", n.Value)
	case isCall(n.Value):
		return c.fail(n, "%s is a function: write %s(…)", n.Value, n.Value)
	default:
		near := didYouMean(n.Value, eventFields)
		if near == "" {
			near = ": it has " + strings.Join(eventFields, ", ")
		}
		return c.fail(n, "the event has no field %q%s", n.Value, near)
	}
}

// detail is the value of details at a path.
func (c *compiler) detail(t typ, steps []step) compiled {
	local := c.tables.path(steps)
	return compiled{typ: t, value: func(s *Scope) Value { return s.path(local) }}
}

// member compiles a.b and a[b]. A path of literals below details is looked up in one go.
func (c *compiler) member(n *ast.MemberNode) compiled {
	if steps, ok := pathOf(n); ok {
		return c.detail(anyType, steps)
	}
	of, property := c.compile(n.Node), c.compile(n.Property)
	if !of.typ.may(listType) && !of.typ.may(objectType) {
		return c.fail(n, "%s has no members", of.typ)
	}
	return compiled{typ: anyType, value: func(s *Scope) Value { return memberValue(of.value(s), property.value(s)) }}
}

// pathOf returns the path when n is a chain of literal steps below details.
func pathOf(n ast.Node) ([]step, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return nil, n.Value == detailsName
	case *ast.ChainNode:
		return pathOf(n.Node)
	case *ast.MemberNode:
		last, ok := stepOf(n.Property)
		if !ok {
			return nil, false
		}
		steps, ok := pathOf(n.Node)
		return append(steps, last), ok
	default:
		return nil, false
	}
}

func stepOf(n ast.Node) (step, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return step{name: n.Value}, true
	case *ast.IntegerNode:
		return step{index: n.Value, isIndex: true}, true
	case *ast.UnaryNode:
		if number, ok := n.Node.(*ast.IntegerNode); ok && n.Operator == "-" {
			return step{index: -number.Value, isIndex: true}, true
		}
	}
	return step{}, false
}

// memberValue is the member of an object by its name, or the element of a list by its index; nil when there is none.
func memberValue(of, property Value) Value {
	switch {
	case of.kind == KindObject && property.kind == KindString:
		return lookup(of.str, []step{{name: property.str}})
	case of.kind == KindList && property.kind == KindInt:
		return lookup(of.str, []step{{index: int(property.int()), isIndex: true}})
	default:
		return Value{}
	}
}
