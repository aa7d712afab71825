package rules

import (
	"encoding/binary"
	"math/bits"
)

// The hash is SipHash-1-3 with a fixed key: the same in every process, for window state outlives them, and without
// the collisions that can be written down for faster hashes, with which someone could hide an enumeration.
type sip struct{ a, b, c, d uint64 }

// The key is the first digits of pi's fraction: nothing up the sleeve.
const (
	sipKey0 = 0x243f6a8885a308d3
	sipKey1 = 0x13198a2e03707344
)

func startHash(k Kind) sip {
	key := uint64(sipKey0) ^ uint64(k)
	return sip{
		key ^ 0x736f6d6570736575, sipKey1 ^ 0x646f72616e646f6d, key ^ 0x6c7967656e657261, sipKey1 ^ 0x7465646279746573,
	}
}

func (s *sip) round() {
	s.a += s.b
	s.c += s.d
	s.b = bits.RotateLeft64(s.b, 13) ^ s.a
	s.d = bits.RotateLeft64(s.d, 16) ^ s.c
	s.a = bits.RotateLeft64(s.a, 32)
	s.c += s.b
	s.a += s.d
	s.b = bits.RotateLeft64(s.b, 17) ^ s.c
	s.d = bits.RotateLeft64(s.d, 21) ^ s.a
	s.c = bits.RotateLeft64(s.c, 32)
}

func (s *sip) word(w uint64) {
	s.d ^= w
	s.round()
	s.a ^= w
}

// sum ends the hash; tail is what the last word holds.
func (s *sip) sum(tail uint64) uint64 {
	s.word(tail)
	s.c ^= 0xff
	for range 3 {
		s.round()
	}
	return s.a ^ s.b ^ s.c ^ s.d
}

func hashWord(k Kind, n uint64) uint64 {
	s := startHash(k)
	s.word(n)
	return s.sum(8 << 56)
}

func hashString(k Kind, text string) uint64 {
	s := startHash(k)
	n := len(text)
	for len(text) >= 8 {
		s.word(binary.LittleEndian.Uint64([]byte(text[:8])))
		text = text[8:]
	}
	tail := uint64(n) << 56
	for i := range len(text) {
		tail |= uint64(text[i]) << (8 * i)
	}
	return s.sum(tail)
}
