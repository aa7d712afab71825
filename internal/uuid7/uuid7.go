// Package uuid7 makes UUIDs of version 7 (RFC 9562) as text.
//
// The invariant it keeps: 74 bits of each are random, so that no two are the same. They need not be secret: an id opens nothing.
//
//	id := uuid7.Append(nil, time.Now().UnixMilli())
package uuid7

import (
	"encoding/hex"
	"math/rand/v2"
)

// Size is how many bytes the text of a UUID has.
const Size = 36

// Append appends the text of a new UUID to b; ms is the time in milliseconds since 1970.
func Append(b []byte, ms int64) []byte {
	var u [16]byte
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	hi, lo := rand.Uint32(), rand.Uint64()
	u[6] = 0x70 | byte(hi>>8)&0x0f
	u[7] = byte(hi)
	for i := range 8 {
		u[8+i] = byte(lo >> (56 - 8*i))
	}
	u[8] = 0x80 | u[8]&0x3f

	var text [Size]byte
	hex.Encode(text[0:8], u[0:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:36], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(b, text[:]...)
}
