package auth

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

func TestNewKeyIsWellFormedAndNew(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		key := NewKey(rand.Reader)
		if len(key) != 48 || !strings.HasPrefix(key, "kp_live_") || !ParseKey(key) {
			t.Fatalf("key %q is not well formed", key)
		}
		if seen[key] {
			t.Fatalf("key %q was made twice", key)
		}
		seen[key] = true
	}
}

func TestNewKeyTakesOnlyUnbiasedBytes(t *testing.T) {
	// 248 to 255 are skipped; 0 is the first character, 61 the last, 62 the first again.
	random := append([]byte{255, 248, 0, 61, 62}, bytes.Repeat([]byte{10}, 40)...)
	if key := NewKey(bytes.NewReader(random)); !strings.HasPrefix(key, "kp_live_0z0A") {
		t.Errorf("key %q, want kp_live_0z0A…", key)
	}
}

// The vector is computed here digit by digit, as a scanner's author would.
func TestChecksum(t *testing.T) {
	random := "0123456789ABCDEFGHIJKLMNOPQRSTUVWX"
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := uint64(crc32.ChecksumIEEE([]byte(random)))
	want := ""
	for range 6 {
		want = string(digits[sum%62]) + want
		sum /= 62
	}
	if key := "kp_live_" + random + want; !ParseKey(key) {
		t.Errorf("ParseKey(%q) = false", key)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	key := NewKey(rand.Reader)
	f := func(s string) {
		t.Helper()
		if ParseKey(s) {
			t.Errorf("ParseKey(%q) = true", s)
		}
	}
	f("")
	f("kp_live_")
	f(key[:47])
	f(key + "0")
	f("kp_test_" + key[8:])
	f(strings.ToUpper(key[:8]) + key[8:])
	f(" " + key[1:])
	f(key[:20] + "é" + key[22:])
	for i := len(KeyPrefix); i < len(key); i++ { // every typing error of one character
		for _, c := range []byte("09AZaz") {
			if key[i] != c {
				f(fmt.Sprintf("%s%c%s", key[:i], c, key[i+1:]))
			}
		}
	}
}
