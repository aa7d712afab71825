package rules

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
)

// maxDigits is how many digits of a number count: a float has 17. strconv may take 25 µs to round one that has more,
// so an event with hundreds of them would stop everyone else's.
const maxDigits = 19

// parseFloat reads a JSON number in a time that is linear in its length; digits after the first nineteen count as zeros.
func parseFloat(s string) (float64, error) {
	var mantissa uint64
	digits, exponent, point, negative := 0, 0, false, false
	i := 0
	if i < len(s) && s[i] == '-' {
		negative = true
		i++
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		switch {
		case digits == 0 && c == '0': // leading zeros are no digits
		case digits < maxDigits:
			mantissa = 10*mantissa + uint64(c-'0')
			digits++
		default:
			exponent++
		}
		if point {
			exponent--
		}
	}
	if i < len(s) {
		if s[i] != 'e' && s[i] != 'E' {
			return 0, strconv.ErrSyntax
		}
		n, err := strconv.Atoi(s[i+1:])
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, strconv.ErrSyntax
		}
		const far = 1 << 30 // beyond every float, and far from where an int ends
		exponent += min(max(n, -far), far)
	}
	f, err := scaled(mantissa, exponent)
	if negative {
		f = -f
	}
	return f, err
}

// scaled returns mantissa times ten to the exponent, rounded to the nearest float, to the even one of two.
func scaled(mantissa uint64, exponent int) (float64, error) {
	const exact = 27 // 5 to this power has 63 bits
	switch {
	case mantissa == 0:
		return 0, nil
	case 0 <= exponent && exponent <= exact:
		high, low := bits.Mul64(mantissa, powerOf5(exponent))
		return rounded128(high, low, exponent), nil
	case -exact <= exponent && exponent < 0:
		// A quotient of 64 bits and more, and whether anything is left.
		divisor := powerOf5(-exponent)
		up := bits.LeadingZeros64(mantissa)
		down := bits.LeadingZeros64(divisor)
		m, d := mantissa<<up, divisor<<down
		high := uint64(0)
		if m >= d {
			high, m = 1, m-d
		}
		low, rest := bits.Div64(m, 0, d)
		if rest > 0 {
			low |= 1 // below the bits that a float keeps, and not zero: that is all that rounding asks for
		}
		return rounded128(high, low, exponent-64-up+down), nil
	default:
		var room [32]byte
		b := strconv.AppendUint(room[:0], mantissa, 10)
		b = strconv.AppendInt(append(b, 'e'), int64(exponent), 10)
		return strconv.ParseFloat(textOf(b), 64)
	}
}

func powerOf5(n int) uint64 {
	power := uint64(1)
	for range n {
		power *= 5
	}
	return power
}

// rounded128 returns a number of 128 bits, times two to the exponent, as a float.
func rounded128(high, low uint64, exponent int) float64 {
	if high > 0 {
		down := 64 - bits.LeadingZeros64(high)
		lost := low << (64 - down)
		low = high<<(64-down) | low>>down
		if down == 64 {
			low, lost = high, low
		}
		if lost > 0 {
			low |= 1
		}
		exponent += down
	}
	return math.Ldexp(float64(low), exponent)
}
