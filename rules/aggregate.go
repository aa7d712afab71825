package rules

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/expr-lang/expr/ast"
)

// Call is what an aggregate computes over the matching events of a key.
type Call uint8

// The calls, as rules.md names them.
const (
	Count     Call = iota // how many
	Rate                  // how many a second
	Sum                   // total of the numeric values
	Avg                   // their mean
	Min                   // the smallest
	Max                   // the largest
	Stddev                // their standard deviation, the population's
	Distinct              // how many different values
	FirstSeen             // whether no earlier event had this event's value
	SinceLast             // seconds since the last earlier matching event
)

// callShapes say what each call's arguments are: window, value, where, in this order, as far as it has them.
var callShapes = [...]struct {
	name   string
	window bool
	value  bool
	must   bool // where may not be left out
	hashed bool // it keeps hashes of its values
	typ    typ
}{
	Count:     {name: "count", window: true, typ: numberType},
	Rate:      {name: "rate", window: true, typ: numberType},
	Sum:       {name: "sum", window: true, value: true, typ: numberType},
	Avg:       {name: "avg", window: true, value: true, typ: numberType},
	Min:       {name: "min", window: true, value: true, typ: numberType},
	Max:       {name: "max", window: true, value: true, typ: numberType},
	Stddev:    {name: "stddev", window: true, value: true, typ: numberType},
	Distinct:  {name: "distinct", window: true, value: true, hashed: true, typ: numberType},
	FirstSeen: {name: "first_seen", window: true, value: true, hashed: true, typ: boolType},
	SinceLast: {name: "since_last", must: true, typ: numberType},
}

// String returns the call's name.
func (c Call) String() string { return callShapes[c].name }

// MarshalText writes the call's name.
func (c Call) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func callNamed(name string) (Call, bool) {
	for c := range callShapes {
		if callShapes[c].name == name {
			return Call(c), true
		}
	}
	return 0, false
}

// The bounds of a window, and how far since_last looks back.
const (
	MinWindow     = time.Second
	MaxWindow     = 30 * day
	SinceLastSpan = 400 * day
)

// Aggregate is one windowed aggregate of the events of a key. It is immutable and shared by every rule that names
// it; package window keeps its state.
type Aggregate struct {
	Text   string        // as rules name it, in canonical spelling: count("10m", event_type == "export")
	Call   Call          //
	Window time.Duration // 0 for since_last

	key    string // equal for equal aggregates
	source string // equal for equal where and value
	where  func(*Scope) bool
	value  func(*Scope) Value
	tables tables
	needs  needs
	worst  float64 // ns
}

// MarshalJSON shows the aggregate as the answer to a validation does.
func (a *Aggregate) MarshalJSON() ([]byte, error) {
	window := ""
	if a.Window > 0 {
		window = FormatDuration(a.Window)
	}
	return json.Marshal(struct {
		Text       string `json:"text"`
		Call       Call   `json:"call"`
		Window     string `json:"window,omitempty"`
		WorstBytes int    `json:"worst_bytes"`
	}{a.Text, a.Call, window, a.WorstBytes()})
}

// WorstTime is the most that where, value and the window take for one event.
func (a *Aggregate) WorstTime() time.Duration { return time.Duration(a.worst) }

// Key identifies the aggregate among those of a tenant: equal call, window, value and where, whoever wrote them.
func (a *Aggregate) Key() string { return a.key }

// Empty is the aggregate's value for a key without any event.
func (a *Aggregate) Empty() Value {
	switch a.Call {
	case Count, Distinct, Sum:
		return Int(0)
	case Rate:
		return Float(0)
	case FirstSeen:
		return Bool(false)
	default:
		return Value{}
	}
}

// aggregate compiles a call of an aggregate.
func (c *compiler) aggregate(n *ast.CallNode, call Call) compiled {
	shape := callShapes[call]
	if c.inAggregate {
		return c.fail(n, "%s cannot be inside of an aggregate: where and value are expressions over the event", call)
	}
	before := *c.meter
	args, ok := c.aggregateArgs(n, call)
	if !ok {
		return compiled{typ: shape.typ, value: constantOf(Value{}).value}
	}
	a := &Aggregate{Call: call, Window: args.window}
	inner := &compiler{
		field: c.field, text: c.text, offset: c.offset, tables: &a.tables, errs: c.errs, nodes: c.nodes, meter: c.meter, inAggregate: true,
	}
	if args.where != nil {
		where := inner.compile(args.where)
		if !where.typ.may(boolType) {
			return c.fail(args.where, "where must be a boolean, not %s", where.typ)
		}
		a.where, a.needs = where.condition(), needsOf(args.where)
	}
	if args.value != nil {
		inner.inValue = true
		value := inner.compile(args.value)
		a.value = value.value
		if shape.hashed {
			c.spend(n, "the value of "+shape.name+"()", nsHashes+nsHash*value.size.text+nsCanonical*value.size.json)
		}
	}
	c.spend(n, shape.name+"()", nsAggregate)
	if *c.nodes > maxNodes {
		return c.fail(n, "the expression is too complex")
	}
	a.worst = c.meter.total - before.total
	a.Text, a.key, a.source = spell(n, args, false), spell(n, args, true), spellSource(args)
	known := len(c.tables.aggregates)
	local := c.tables.aggregate(a)
	if local < known { // it is kept, and paid for, once
		*c.meter = before
		c.meter.total += nsOperator
	}
	value := func(s *Scope) Value { return s.aggregateValue(local) }
	if shape.typ == boolType {
		return testOf(func(s *Scope) bool { return value(s).IsTrue() })
	}
	return compiled{typ: shape.typ, size: scalar, value: value}
}

// aggregateArgs are the arguments of an aggregate's call by their roles.
type aggregateArgs struct {
	window       time.Duration
	literal      string // the window as written
	value, where ast.Node
}

func (c *compiler) aggregateArgs(n *ast.CallNode, call Call) (aggregateArgs, bool) {
	shape, rest := callShapes[call], n.Arguments
	var args aggregateArgs
	problem := func(at ast.Node, format string, values ...any) (aggregateArgs, bool) {
		c.fail(at, format, values...)
		return args, false
	}
	if least, most := arity(call); len(rest) < least || len(rest) > most {
		return problem(n, "%s is written %s", call, usage(call))
	}
	if shape.window {
		literal, ok := rest[0].(*ast.StringNode)
		if !ok {
			return problem(rest[0], "the window of %s must be a literal such as \"10m\": %s", call, usage(call))
		}
		window, err := ParseDuration(literal.Value)
		if err != nil {
			return problem(literal, "the window %v", err)
		}
		if window < MinWindow || window > MaxWindow {
			return problem(literal, "the window must be at least 1s and at most 30d")
		}
		args.window, args.literal, rest = window, literal.Value, rest[1:]
	}
	if shape.value {
		args.value, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		args.where = rest[0]
	}
	return args, true
}

// arity returns how many arguments a call has at least and at most.
func arity(call Call) (least, most int) {
	shape := callShapes[call]
	for _, has := range []bool{shape.window, shape.value, shape.must} {
		if has {
			least++
		}
	}
	if shape.must {
		return least, least
	}
	return least, least + 1
}

// usage shows how a call is written.
func usage(call Call) string {
	switch shape := callShapes[call]; {
	case shape.must:
		return fmt.Sprintf("%s(where)", call)
	case shape.value:
		return fmt.Sprintf("%s(window, value) or %s(window, value, where)", call, call)
	default:
		return fmt.Sprintf("%s(window) or %s(window, where)", call, call)
	}
}
