package rules

import (
	"strings"

	"github.com/expr-lang/expr/ast"

	"keypulse/schema"
)

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

// size is the most that the field can have.
func (f field) size() size {
	n := float64(maxField)
	switch f {
	case fieldSeverity, fieldCreatedAt, fieldSourceIP:
		n = 64
	case fieldEventID:
		n = 512
	default:
	}
	return size{text: n, quoted: quoting * n}
}

func severityName(severity schema.Severity) string {
	if severity < schema.Nominal || severity > schema.Critical {
		return ""
	}
	return schema.Severities[severity-1]
}

func (c *compiler) identifier(n *ast.IdentifierNode) compiled {
	if n.Value == detailsName {
		return c.detail(n, objectType, nil)
	}
	f, ok := fields[n.Value]
	if f == fieldCreatedAt {
		c.spend(n, n.Value, nsTime)
	}
	switch {
	case ok && c.inValue && (f == fieldSourceIP || f == fieldActor):
		return compiled{typ: stringType, size: f.size(), value: func(s *Scope) Value {
			if text := f.text(s); text != "" {
				return String(text)
			}
			return Value{}
		}}
	case ok:
		return compiled{typ: stringType, field: f, size: f.size(), value: func(s *Scope) Value { return String(f.text(s)) }}
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
func (c *compiler) detail(n ast.Node, t typ, steps []step) compiled {
	known := len(c.tables.paths)
	local := c.tables.path(steps)
	if local == known { // otherwise it is remembered
		c.spendPath(n, steps)
	}
	s := size{text: maxDetails, quoted: maxDetails, json: maxDetails}
	if t == objectType {
		s = size{json: maxDetails}
	}
	return compiled{typ: t, size: s, place: steps, value: func(s *Scope) Value { return s.path(local) }}
}

// member compiles a.b and a[b]. A path of literals below details is looked up in one go.
func (c *compiler) member(n *ast.MemberNode) compiled {
	if depthOf(n) > maxMembers {
		return c.fail(n, "more than %d members in a row", maxMembers)
	}
	if steps, ok := pathOf(n); ok {
		return c.detail(n, anyType, steps)
	}
	of, property := c.compile(n.Node), c.compile(n.Property)
	if !of.typ.may(listType) && !of.typ.may(objectType) {
		return c.fail(n, "%s has no members", of.typ)
	}
	size := c.spendBuiltin(n, "get", []compiled{of, property})
	return compiled{typ: anyType, size: size, value: func(s *Scope) Value { return memberValue(of.value(s), property.value(s)) }}
}

// maxMembers is how long a chain a.b.c… may be: details have 32 levels.
const maxMembers = 64

// depthOf is the length of the chain of members that ends at n, or maxMembers+1.
func depthOf(n ast.Node) int {
	depth := 0
	for depth <= maxMembers {
		switch next := n.(type) {
		case *ast.MemberNode:
			depth, n = depth+1, next.Node
		case *ast.ChainNode:
			n = next.Node
		default:
			return depth
		}
	}
	return depth
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
