package rules

import (
	"net/netip"
	"sort"
	"time"

	"github.com/expr-lang/expr/ast"
)

// function compiles a call; least and most bound the number of its arguments.
type function struct {
	least, most int
	compile     func(c *compiler, n *ast.CallNode) compiled
}

// functions are the calls of the language besides the aggregates.
var functions map[string]function

// callNames are the names of all calls, aggregates included, sorted.
var callNames []string

func init() {
	functions = map[string]function{
		"hour":    {0, 1, (*compiler).clock},
		"weekday": {0, 1, (*compiler).clock},
		"cidr":    {2, 2, (*compiler).cidr},
	}
	for name, b := range builtins {
		functions[name] = function{b.least, b.most, (*compiler).builtin}
	}
	for name := range functions {
		callNames = append(callNames, name)
	}
	for call := range callShapes {
		callNames = append(callNames, Call(call).String())
	}
	sort.Strings(callNames)
}

func isCall(name string) bool {
	_, ok := functions[name]
	_, aggregate := callNamed(name)
	return ok || aggregate
}

// call compiles a function call by its name.
func (c *compiler) call(n *ast.CallNode) compiled {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return c.fail(n, "only functions can be called, not members")
	}
	if call, ok := callNamed(callee.Value); ok {
		return c.aggregate(n, call)
	}
	f, ok := functions[callee.Value]
	switch {
	case ok && len(n.Arguments) < f.least:
		return c.fail(n, "%s needs at least %d arguments, not %d", callee.Value, f.least, len(n.Arguments))
	case ok && len(n.Arguments) > f.most:
		return c.fail(n, "%s takes at most %d arguments, not %d", callee.Value, f.most, len(n.Arguments))
	case ok:
		return f.compile(c, n)
	}
	if why, known := refusals[callee.Value]; known {
		return c.fail(n, "%s() is not allowed in a rule: %s", callee.Value, why)
	}
	return c.fail(n, "there is no function %q%s", callee.Value, didYouMean(callee.Value, callNames))
}

const (
	unbounded    = "its result can grow without bound"
	notEventTime = "time is the event's: use hour(), weekday() or created_at"
	unordered    = "it is not needed to judge an event"
)

// refusals are the builtins of expr that a rule may not use, and why.
var refusals = map[string]string{
	"repeat": unbounded, "replace": unbounded, "join": unbounded, "toBase64": unbounded,
	"toJSON": unbounded, "fromJSON": unbounded,
	"now": notEventTime, "date": notEventTime, "duration": notEventTime, "timezone": notEventTime,
	"toPairs": unordered, "fromPairs": unordered,
}

// clock compiles hour(tz) and weekday(tz): of created_at in the zone, UTC by default.
func (c *compiler) clock(n *ast.CallNode) compiled {
	name := n.Callee.(*ast.IdentifierNode).Value
	zone := time.UTC
	if len(n.Arguments) == 1 {
		literal, ok := n.Arguments[0].(*ast.StringNode)
		if !ok {
			return c.fail(n.Arguments[0], "the time zone of %s must be a literal", name)
		}
		var err error
		if zone, err = zoneNamed(literal.Value); err != nil {
			return c.fail(literal, "%q is not a time zone such as \"UTC\" or \"Europe/Berlin\"", literal.Value)
		}
	}
	c.spend(n, name+"()", nsTime)
	if name == "weekday" {
		return compiled{typ: numberType, size: scalar, value: func(s *Scope) Value {
			return Int(int64(s.event.CreatedAt.Time().In(zone).Weekday()))
		}}
	}
	return compiled{typ: numberType, size: scalar, value: func(s *Scope) Value {
		return Int(int64(s.event.CreatedAt.Time().In(zone).Hour()))
	}}
}

// cidr compiles cidr(address, "10.0.0.0/8"): false for what is no address.
func (c *compiler) cidr(n *ast.CallNode) compiled {
	address := c.compile(n.Arguments[0])
	if !address.typ.may(stringType) {
		return c.fail(n.Arguments[0], "cidr needs an address, not %s", address.typ)
	}
	literal, ok := n.Arguments[1].(*ast.StringNode)
	if !ok {
		return c.fail(n.Arguments[1], "the network of cidr must be a literal")
	}
	network, err := netip.ParsePrefix(literal.Value)
	if err != nil {
		return c.fail(literal, "%q is not a network such as \"10.0.0.0/8\"", literal.Value)
	}
	network = unmapped(network)
	c.spend(n, "cidr()", 200+nsPlain*address.size.text)
	return testOf(func(s *Scope) bool {
		v := address.value(s)
		return v.kind == KindString && v.str != "" && network.Contains(s.addr(v.str))
	})
}

// unmapped returns the IPv4 network that an IPv4-mapped IPv6 network means.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
