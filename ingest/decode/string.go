package decode

import (
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// One bit in each of eight bytes: the lowest, the highest.
const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scanString reads a string whose opening quote stands before i, and its closing quote. It takes UTF-8 only, no control
// characters, and no surrogate without its other half.
func scanString(b []byte, i int) (end int, escaped bool) {
	for {
		// Eight bytes at a time: in special a byte's highest bit says that it is not plain text: a control character (its
		// subtraction underflows), a quote or a backslash (which the xor makes zero), or not ASCII. The lowest such byte
		// is exact, for a borrow goes upwards only.
		for i+8 <= len(b) {
			x := eight(b, i)
			special := ((x - lows*' ') | ((x ^ lows*'"') - lows) | ((x ^ lows*'\\') - lows) | x) & highs
			if special != 0 {
				i += bits.TrailingZeros64(special) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return broken, false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if i = scanEscape(b, i+1); i == broken {
				return broken, false
			}
		case c < ' ':
			return broken, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return broken, false
			}
			i += n
		}
	}
}

// scanEscape reads an escape sequence behind its backslash.
func scanEscape(b []byte, i int) int {
	if i >= len(b) {
		return broken
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
	default:
		return broken
	}
	unit, ok := hex4(b, i+1)
	i += 5
	switch {
	case !ok:
		return broken
	case !utf16.IsSurrogate(unit):
		return i
	case i+1 >= len(b) || b[i] != '\\' || b[i+1] != 'u':
		return broken
	}
	low, ok := hex4(b, i+2)
	if !ok || utf16.DecodeRune(unit, low) == utf8.RuneError {
		return broken
	}
	return i + 6
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte, i int) (unit rune, ok bool) {
	if i+4 > len(b) {
		return 0, false
	}
	for _, c := range b[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}

// unescape returns what a valid string with escape sequences stands for. It lies in the arena.
func (d *Decoder) unescape(s []byte) []byte {
	start := len(d.arena)
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			d.arena = append(d.arena, s[i])
			i++
			continue
		}
		switch c := s[i+1]; c {
		case 'u':
			r, _ := hex4(s, i+2)
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s, i+2)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			d.arena = utf8.AppendRune(d.arena, r)
			continue
		case 'b':
			d.arena = append(d.arena, '\b')
		case 'f':
			d.arena = append(d.arena, '\f')
		case 'n':
			d.arena = append(d.arena, '\n')
		case 'r':
			d.arena = append(d.arena, '\r')
		case 't':
			d.arena = append(d.arena, '\t')
		default:
			d.arena = append(d.arena, c)
		}
		i += 2
	}
	return d.arena[start:len(d.arena):len(d.arena)]
}
