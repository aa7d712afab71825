package rules

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is the type of a value while a rule runs.
type Kind uint8

// The kinds. A list and an object are kept as their JSON text.
const (
	KindNil Kind = iota
	KindBool
	KindInt
	KindFloat
	KindString
	KindList
	KindObject
)

var kindNames = [...]string{"nil", "bool", "int", "float", "string", "array", "map"}

// Value is what an expression gives. The zero value is nil. A float is always finite: an operation without a finite
// result gives nil.
type Value struct {
	kind Kind
	num  uint64 // of a bool, int or float
	str  string // of a string; the JSON text of a list or an object
}

// Int returns the value of an integer.
func Int(n int64) Value { return Value{kind: KindInt, num: uint64(n)} }

// Bool returns the value of a boolean.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Float returns the value of a number, nil when it is not finite.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	return Value{kind: KindFloat, num: math.Float64bits(f)}
}

// String returns the value of a string.
func String(s string) Value { return Value{kind: KindString, str: s} }

// Kind returns the value's kind.
func (v Value) Kind() Kind { return v.kind }

// IsNil reports whether the value is nil.
func (v Value) IsNil() bool { return v.kind == KindNil }

// IsTrue reports whether the value is true: nil and everything that is no boolean is not.
func (v Value) IsTrue() bool { return v.kind == KindBool && v.num == 1 }

// Number returns the value as a number; false when it is none.
func (v Value) Number() (float64, bool) {
	switch v.kind {
	case KindInt:
		return float64(int64(v.num)), true
	case KindFloat:
		return v.float(), true
	default:
		return 0, false
	}
}

func (v Value) int() int64     { return int64(v.num) }
func (v Value) float() float64 { return math.Float64frombits(v.num) }

func (v Value) isNumber() bool { return v.kind == KindInt || v.kind == KindFloat }

// compare orders two values. ok is false when the two do not compare: nil with anything, values of two types,
// booleans, lists and objects.
func compare(a, b Value) (order int, ok bool) {
	switch {
	case a.kind == KindInt && b.kind == KindInt:
		return cmp.Compare(a.int(), b.int()), true
	case a.isNumber() && b.isNumber():
		return compareNumbers(a, b), true
	case a.kind == KindString && b.kind == KindString:
		return strings.Compare(a.str, b.str), true
	default:
		return 0, false
	}
}

// compareNumbers compares exactly, also an integer beyond 2^53 with a float.
func compareNumbers(a, b Value) int {
	switch {
	case a.kind == KindInt && b.kind == KindInt:
		return cmp.Compare(a.int(), b.int())
	case a.kind == KindInt:
		return -compareFloatInt(b.float(), a.int())
	case b.kind == KindInt:
		return compareFloatInt(a.float(), b.int())
	default:
		return cmp.Compare(a.float(), b.float())
	}
}

const twoTo63 = 1 << 63

func compareFloatInt(f float64, n int64) int {
	if f >= twoTo63 {
		return 1
	}
	if f < -twoTo63 {
		return -1
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(int64(whole), n); c != 0 {
		return c
	}
	return cmp.Compare(f, whole)
}

// equal reports whether two values are the same. ok is false when they are of types that do not compare, or one is
// nil. Lists and objects compare by their content.
func equal(a, b Value) (same, ok bool) {
	switch {
	case a.kind == KindString && b.kind == KindString:
		return a.str == b.str, true
	case a.isNumber() && b.isNumber():
		return compareNumbers(a, b) == 0, true
	case a.kind != b.kind || a.kind == KindNil:
		return false, false
	case a.kind == KindBool:
		return a.num == b.num, true
	default:
		return a.str == b.str || bytes.Equal(canonical(nil, a), canonical(nil, b)), true
	}
}

// same is equality as the elements of a list know it: nil equals nil.
func same(a, b Value) bool {
	if a.kind == KindNil && b.kind == KindNil {
		return true
	}
	eq, ok := equal(a, b)
	return eq && ok
}

// Hash returns a hash that is equal for equal values: 1 and 1.0 have one. It is the same in every process.
func (v Value) Hash() uint64 {
	switch v.kind {
	case KindFloat:
		if n, ok := wholeNumber(v.float()); ok {
			return hashWord(KindInt, uint64(n))
		}
		return hashWord(v.kind, v.num)
	case KindString:
		return hashString(v.kind, v.str)
	case KindList, KindObject:
		return hashString(v.kind, string(canonical(nil, v)))
	default:
		return hashWord(v.kind, v.num)
	}
}

// wholeNumber returns f as an integer when it is one.
func wholeNumber(f float64) (int64, bool) {
	if f >= -twoTo63 && f < twoTo63 && f == math.Trunc(f) {
		return int64(f), true
	}
	return 0, false
}

// AppendJSON appends the value as JSON.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(b, v.num == 1)
	case KindInt:
		return strconv.AppendInt(b, v.int(), 10)
	case KindFloat:
		return appendFloat(b, v.float())
	case KindString:
		return appendQuoted(b, v.str)
	case KindList, KindObject:
		return append(b, v.str...)
	default:
		return append(b, "null"...)
	}
}

// AppendText appends the value as a message shows it: a string as it is, nil as nothing, the rest as JSON.
func (v Value) AppendText(b []byte) []byte {
	switch v.kind {
	case KindNil:
		return b
	case KindString:
		return append(b, strings.ToValidUTF8(v.str, string(utf8.RuneError))...)
	default:
		return v.AppendJSON(b)
	}
}

// appendFloat writes a float as JSON does: without an exponent in the usual range.
func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}
