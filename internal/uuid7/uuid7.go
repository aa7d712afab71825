// Package uuid7 makes UUIDs of version 7 (RFC 9562) as text.
//
// The invariant it keeps: 74 bits of each are random, so that no two are the same. They need not be secret: an id opens nothing.
//
//	id := uuid7.Append(nil, time.Now().UnixMilli())
package uuid7

import "math/rand/v2"

// Size is how many bytes the text of a UUID has.
const Size = 36

// Append appends the text of a new UUID to b; ms is the time in milliseconds since 1970.
func Append(b []byte, ms int64) []byte {
	hi := uint64(ms)<<16 | 7<<12 | uint64(rand.Uint32()&0xfff)
	lo := rand.Uint64()&^(3<<62) | 2<<62
	b = append(b, "00000000-0000-7000-8000-000000000000"...)
	text := b[len(b)-Size:]
	put(text[0:8], hi>>32)
	put(text[9:13], hi>>16)
	put(text[14:18], hi)
	put(text[19:23], lo>>48)
	put(text[24:36], lo)
	return b
}

// put writes the last digits of v.
func put(text []byte, v uint64) {
	const digits = "0123456789abcdef"
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = digits[v&0xf]
		v >>= 4
	}
}
