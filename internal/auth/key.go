package auth

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// KeyPrefix starts every API key, so that scanners for leaked secrets find it.
const KeyPrefix = "kp_live_"

const (
	randomLen   = 34 // base62: 202 bits
	checksumLen = 6  // base62 of a CRC-32, left-padded with '0'
	keyLen      = len(KeyPrefix) + randomLen + checksumLen
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewKey makes an API key: [KeyPrefix], 34 random base62 characters, and the CRC-32 (IEEE) of those 34 as 6 base62
// digits, most significant first. It panics when random fails, which crypto/rand.Reader never does.
func NewKey(random io.Reader) string {
	b := make([]byte, 0, keyLen)
	b = append(b, KeyPrefix...)
	var one [1]byte
	for len(b) < len(KeyPrefix)+randomLen {
		if _, err := io.ReadFull(random, one[:]); err != nil {
			panic(fmt.Sprintf("BUG: make API key: read random bytes: %v", err))
		}
		// 248 = 4*62: what lies above would favour the first characters.
		if one[0] < 248 {
			b = append(b, base62[one[0]%62])
		}
	}
	sum := checksum(string(b[len(KeyPrefix):]))
	return string(append(b, sum[:]...))
}

// ParseKey reports whether s has an API key's form: prefix, length, alphabet and checksum. It tells a real key from a
// typing error without a look-up; it does not say that the key exists.
func ParseKey(s string) (wellFormed bool) {
	if len(s) != keyLen || !strings.HasPrefix(s, KeyPrefix) {
		return false
	}
	body := s[len(KeyPrefix):]
	for i := range len(body) {
		if !isBase62(body[i]) {
			return false
		}
	}
	sum := checksum(body[:randomLen])
	return string(sum[:]) == body[randomLen:]
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// checksum returns the base62 digits of the CRC-32 of random. It walks the table by itself, because ChecksumIEEE wants
// bytes on the heap.
func checksum(random string) (digits [checksumLen]byte) {
	sum := ^uint32(0)
	for i := range len(random) {
		sum = crc32.IEEETable[byte(sum)^random[i]] ^ sum>>8
	}
	sum = ^sum
	for i := checksumLen - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return digits
}
