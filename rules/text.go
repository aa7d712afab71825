package rules

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The letters and digits of JSON, each read in a time that is linear in its length, however it is written.

// appendQuoted writes a JSON string. What is not UTF-8 in it becomes the replacement character.
func appendQuoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its error only says that it has replaced something
	return b
}

// plain decodes the inside of a JSON string; "" when it is malformed.
func plain(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	b, ok := appendPlain(make([]byte, 0, len(raw)), raw)
	if !ok {
		return ""
	}
	return string(b)
}

// isName reports whether a member's raw name is name. It takes no memory: an event may have thousands of odd names.
func isName(raw, name string) bool {
	const longest = len(`\u0000`) // way to write a byte
	if raw == name {
		return strings.IndexByte(raw, '\\') < 0
	}
	escape := strings.IndexByte(raw, '\\')
	if escape < 0 || len(name) < escape || raw[:escape] != name[:escape] || len(raw) > longest*len(name) {
		return false
	}
	var room [128]byte
	b, ok := appendPlain(room[:0], raw)
	return ok && string(b) == name
}

// appendPlain appends what the inside of a JSON string means; false when it is malformed.
func appendPlain(b []byte, raw string) ([]byte, bool) {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			i++
			continue
		}
		if i+1 == len(raw) {
			return b, false
		}
		if raw[i+1] != 'u' {
			c := escaped(raw[i+1])
			if c == 0 {
				return b, false
			}
			b = append(b, c)
			i += 2
			continue
		}
		r, ok := hex4(raw[i+2:])
		if !ok {
			return b, false
		}
		i += 6
		if utf16.IsSurrogate(r) {
			var low rune
			if strings.HasPrefix(raw[i:], `\u`) {
				low, _ = hex4(raw[i+2:])
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += 6
			}
		}
		b = utf8.AppendRune(b, r)
	}
	return b, true
}

// escaped is what stands for the character after a backslash; 0 for one that may not stand there.
func escaped(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return 0
	}
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[:4]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
