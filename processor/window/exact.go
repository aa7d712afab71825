package window

import (
	"math"
	"math/bits"
)

// exact is a sum of floats without any rounding: a fixed-point number of 256 bits, half of them behind the point, in two's
// complement. So what was added can be subtracted again, in any order, and the sum of a window is a function of the
// numbers that are in it.
type exact [4]uint64

const (
	exactPoint = 128
	// A number takes part when it is below 2^86, so that a sum of 2^41 of them fits, and its last bit is not behind 2^-128.
	// What is not is wild, and for its owner to keep.
	mostShift = 86 - 53 + exactPoint
)

// add adds x; false when x is wild.
func (a *exact) add(x float64) bool { return a.accumulate(math.Float64bits(x)) }

// sub takes x away again; false when x is wild.
func (a *exact) sub(x float64) bool { return a.accumulate(math.Float64bits(x) ^ 1<<63) }

func (a *exact) accumulate(b uint64) bool {
	// x is ±m·2^(shift-exactPoint).
	shift := uint64(int(b>>52&0x7ff) - (1075 - exactPoint))
	if shift > mostShift {
		return b<<1 == 0
	}
	m := b&(1<<52-1) | 1<<52
	low, high := m<<(shift%64), m>>(64-shift%64)
	minus := uint64(int64(b) >> 63) // all bits
	low, high = low^minus, high^minus
	var carry uint64
	switch shift / 64 {
	case 0:
		a[0], carry = bits.Add64(a[0], low, minus&1)
		a[1], carry = bits.Add64(a[1], high, carry)
		a[2], carry = bits.Add64(a[2], minus, carry)
		a[3], _ = bits.Add64(a[3], minus, carry)
	case 1: // the lowest word of -x is 0
		a[1], carry = bits.Add64(a[1], low, minus&1)
		a[2], carry = bits.Add64(a[2], high, carry)
		a[3], _ = bits.Add64(a[3], minus, carry)
	default:
		a[2], carry = bits.Add64(a[2], low, minus&1)
		a[3], _ = bits.Add64(a[3], high, carry)
	}
	return true
}

// plus adds another sum.
func (a *exact) plus(b *exact) {
	var carry uint64
	for i := range a {
		a[i], carry = bits.Add64(a[i], b[i], carry)
	}
}

// minus takes another sum away.
func (a *exact) minus(b *exact) {
	var borrow uint64
	for i := range a {
		a[i], borrow = bits.Sub64(a[i], b[i], borrow)
	}
}

// float is the float nearest to the sum.
func (a *exact) float() float64 {
	w, sign := *a, uint64(0)
	if int64(w[3]) < 0 {
		w, sign = exact{}, 1<<63
		w.minus(a)
	}
	top := 3
	for w[top] == 0 {
		if top--; top < 0 {
			return 0
		}
	}
	zeros := bits.LeadingZeros64(w[top])
	head, rest := w[top], uint64(0)
	if top > 0 {
		head = head<<zeros | w[top-1]>>(64-zeros)
		rest = w[top-1] << zeros
		for i := range top - 1 {
			rest |= w[i]
		}
	} else {
		head <<= zeros
	}
	if rest != 0 {
		head |= 1 // below what a float keeps: it only breaks ties
	}
	scale := math.Float64frombits(uint64(1023+64*top-zeros-exactPoint) << 52)
	return math.Float64frombits(math.Float64bits(float64(head)*scale) | sign)
}
