package rules

import (
	"math"

	"github.com/expr-lang/expr/ast"
)

// arithmetics are the operators over numbers. What has no finite number as its result is nil.
var arithmetics = map[string]func(a, b Value) Value{
	"+": add, "-": subtract, "*": multiply, "/": divide, "%": modulo, "**": power, "^": power,
}

func (c *compiler) arithmetic(n *ast.BinaryNode) compiled {
	left, right := c.compile(n.Left), c.compile(n.Right)
	for _, e := range []compiled{left, right} {
		if n.Operator == "+" && e.typ == stringType {
			return c.fail(n, "strings cannot be joined in a rule: the operator + adds numbers")
		}
		if !e.typ.may(numberType) {
			return c.fail(n, "the operator %s needs numbers, not %s", n.Operator, e.typ)
		}
	}
	operate := arithmetics[n.Operator]
	c.spend(n, "the operator "+n.Operator, 2*nsOperator)
	return compiled{typ: numberType, size: scalar, value: func(s *Scope) Value {
		a, b := left.value(s), right.value(s)
		if !a.isNumber() || !b.isNumber() {
			return Value{}
		}
		return operate(a, b)
	}}
}

func plus(v Value) Value {
	if !v.isNumber() {
		return Value{}
	}
	return v
}

func negate(v Value) Value {
	switch {
	case v.kind == KindInt && v.int() != math.MinInt64:
		return Int(-v.int())
	case v.isNumber():
		f, _ := v.Number()
		return Float(-f)
	default:
		return Value{}
	}
}

// numbers returns both operands as floats.
func numbers(a, b Value) (x, y float64) {
	x, _ = a.Number()
	y, _ = b.Number()
	return x, y
}

func ints(a, b Value) bool { return a.kind == KindInt && b.kind == KindInt }

// add, subtract and multiply keep integers; a result that an integer cannot hold becomes a float.
func add(a, b Value) Value {
	if x, y := a.int(), b.int(); ints(a, b) {
		if sum := x + y; (sum > x) == (y > 0) {
			return Int(sum)
		}
	}
	x, y := numbers(a, b)
	return Float(x + y)
}

func subtract(a, b Value) Value {
	if x, y := a.int(), b.int(); ints(a, b) {
		if difference := x - y; (difference < x) == (y > 0) {
			return Int(difference)
		}
	}
	x, y := numbers(a, b)
	return Float(x - y)
}

func multiply(a, b Value) Value {
	if x, y := a.int(), b.int(); ints(a, b) {
		if x == 0 || y == 0 {
			return Int(0)
		}
		product := x * y
		if product/y == x && (x != math.MinInt64 || y != -1) && (y != math.MinInt64 || x != -1) {
			return Int(product)
		}
	}
	x, y := numbers(a, b)
	return Float(float64(x * y))
}

// divide gives a float, nil for a division by zero.
func divide(a, b Value) Value {
	x, y := numbers(a, b)
	return Float(x / y)
}

// modulo is defined for whole numbers, nil otherwise and by zero.
func modulo(a, b Value) Value {
	if !ints(a, b) || b.int() == 0 {
		return Value{}
	}
	if b.int() == -1 {
		return Int(0)
	}
	return Int(a.int() % b.int())
}

func power(a, b Value) Value {
	x, y := numbers(a, b)
	return Float(math.Pow(x, y))
}
