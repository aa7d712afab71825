package rules

import (
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// The reader of `details`: it walks the JSON text and decodes only what a rule asks for. The text was checked when
// the event was accepted; what is malformed all the same reads as nil.

// step is one step of a path: a member's name, or an index into a list (from its end when negative).
type step struct {
	name    string
	index   int
	isIndex bool
}

// lookup returns the value at path below the JSON text.
func lookup(text string, path []step) Value {
	for _, s := range path {
		var ok bool
		if s.isIndex {
			text, ok = element(text, s.index)
		} else {
			text, ok = memberOf(text, s.name)
		}
		if !ok {
			return Value{}
		}
	}
	return decodeValue(text)
}

// textOf returns b as a string without copying. The caller keeps b unchanged for as long as it uses the string:
// the details of an event never change.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// skipSpace returns the first position from i that is no space.
func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

// skipString returns the position after the string that starts at i, -1 when it does not end.
func skipString(s string, i int) int {
	for i++; i < len(s); i++ {
		if s[i] == '"' {
			return i + 1
		}
		if s[i] == '\\' {
			i++
		}
	}
	return -1
}

// skipValue returns the position after the value that starts at i, -1 when there is none.
func skipValue(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	switch s[i] {
	case '"':
		return skipString(s, i)
	case '{', '[':
		return skipNested(s, i)
	}
	start := i
	for i < len(s) && s[i] != ',' && s[i] != '}' && s[i] != ']' && !isSpace(s[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// skipNested returns the position after the list or object that starts at i.
func skipNested(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			if i = skipString(s, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// walker goes through the members of an object or the elements of a list.
type walker struct {
	text   string
	i      int  // after the opening bracket, or after the last member
	object bool // false: a list
}

// walk returns a walker over the text; false when it is neither an object nor a list.
func walk(text string) (walker, bool) {
	i := skipSpace(text, 0)
	if i >= len(text) || text[i] != '{' && text[i] != '[' {
		return walker{}, false
	}
	return walker{text, i + 1, text[i] == '{'}, true
}

// next returns the raw name (between its quotes; "" in a list) and the text of the next member; false at the end.
func (w *walker) next() (name, value string, ok bool) {
	s, i := w.text, skipSpace(w.text, w.i)
	if i < len(s) && s[i] == ',' {
		i = skipSpace(s, i+1)
	}
	if w.object {
		if i >= len(s) || s[i] != '"' {
			return "", "", false
		}
		end := skipString(s, i)
		if end < 0 {
			return "", "", false
		}
		name = s[i+1 : end-1]
		if i = skipSpace(s, end); i >= len(s) || s[i] != ':' {
			return "", "", false
		}
		i = skipSpace(s, i+1)
	}
	end := skipValue(s, i)
	if end < 0 {
		return "", "", false
	}
	w.i = end
	return name, s[i:end], true
}

// memberOf returns the text of the member with the name.
func memberOf(s, name string) (text string, found bool) {
	w, ok := walk(s)
	for ok && w.object {
		var raw, value string
		if raw, value, ok = w.next(); ok && isName(raw, name) {
			return value, true
		}
	}
	return "", false
}

// element returns the text of the element at index, counted from the end when it is negative.
func element(s string, index int) (text string, found bool) {
	w, ok := walk(s)
	if !ok || w.object {
		return "", false
	}
	if index < 0 {
		if index += length(s); index < 0 {
			return "", false
		}
	}
	for i := 0; ok; i++ {
		if _, text, ok = w.next(); ok && i == index {
			return text, true
		}
	}
	return "", false
}

// length is the number of members or elements.
func length(s string) int {
	n := 0
	w, ok := walk(s)
	for ok {
		if _, _, ok = w.next(); ok {
			n++
		}
	}
	return n
}

// decodeValue decodes one JSON value. A string without escapes, a list and an object alias s.
func decodeValue(s string) Value {
	if s == "" {
		return Value{}
	}
	switch s[0] {
	case '"':
		raw := s[1:max(1, len(s)-1)]
		return String(plain(raw))
	case '{':
		return Value{kind: KindObject, str: s}
	case '[':
		return Value{kind: KindList, str: s}
	case 't':
		return Bool(true)
	case 'f':
		return Bool(false)
	case 'n':
		return Value{}
	default:
		return decodeNumber(s)
	}
}

// decodeNumber reads a JSON number. A whole number is an integer however it is written; one that no float holds
// becomes the largest of its sign, so that nobody slips below a limit by writing 1e999.
func decodeNumber(s string) Value {
	if n, ok := decodeInt(s); ok {
		return Int(n)
	}
	f, err := parseFloat(s)
	switch {
	case math.IsInf(f, 1):
		f = math.MaxFloat64
	case math.IsInf(f, -1):
		f = -math.MaxFloat64
	case err != nil:
		return Value{}
	}
	if n, ok := wholeNumber(f); ok {
		return Int(n)
	}
	return Float(f)
}

// decodeInt reads a number of digits only, perhaps with a sign, that 64 bits hold.
func decodeInt(s string) (int64, bool) {
	const always = 18 // digits that always fit
	digits := strings.TrimPrefix(s, "-")
	var n int64
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) > always {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	}
	if len(digits) < len(s) {
		n = -n
	}
	return n, len(digits) > 0
}
