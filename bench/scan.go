package bench

import "bytes"

// The generator shares its cores with the server, so it does not decode answers: it walks them and looks only at the
// members that it counts. The walk checks brackets and quotes, not the grammar between them.

// eachMember calls f with the name (escapes as they are) and the raw value of each member of the JSON object b.
// It reports whether b is an object.
func eachMember(b []byte, f func(name, value []byte)) bool {
	return eachItem(b, '{', '}', func(rest []byte) int {
		name := skipValue(rest)
		if name < 2 || rest[0] != '"' {
			return -1
		}
		at := name + skipSpace(rest[name:])
		if at >= len(rest) || rest[at] != ':' {
			return -1
		}
		at++
		at += skipSpace(rest[at:])
		n := skipValue(rest[at:])
		if n <= 0 {
			return -1
		}
		f(rest[1:name-1], rest[at:at+n])
		return at + n
	})
}

// eachElement calls f with each raw element of the JSON array b. It reports whether b is an array.
func eachElement(b []byte, f func(element []byte)) bool {
	return eachItem(b, '[', ']', func(rest []byte) int {
		n := skipValue(rest)
		if n > 0 {
			f(rest[:n])
		}
		return n
	})
}

// eachItem calls item at the start of every item of a list between open and end; item returns its length, or a
// number below 1 when there is none.
func eachItem(b []byte, open, end byte, item func(rest []byte) int) bool {
	i := skipSpace(b)
	if i >= len(b) || b[i] != open {
		return false
	}
	i++
	i += skipSpace(b[i:])
	if i < len(b) && b[i] == end {
		return skipSpace(b[i+1:]) == len(b[i+1:])
	}
	for i < len(b) {
		n := item(b[i:])
		if n <= 0 {
			return false
		}
		i += n
		i += skipSpace(b[i:])
		if i >= len(b) {
			return false
		}
		if b[i] == end {
			return skipSpace(b[i+1:]) == len(b[i+1:])
		}
		if b[i] != ',' {
			return false
		}
		i++
		i += skipSpace(b[i:])
	}
	return false
}

func skipSpace(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return i
		}
	}
	return len(b)
}

// skipValue returns the length of the value that b starts with, 0 or less when there is none.
func skipValue(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"':
		return skipString(b)
	case '{', '[':
		return skipNested(b)
	}
	for i, c := range b {
		switch c {
		case ',', '}', ']', ':', '"', ' ', '\n', '\t', '\r':
			return i
		}
	}
	return len(b)
}

func skipString(b []byte) int {
	for i := 1; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		slashes := 0
		for i+n-1-slashes >= 1 && b[i+n-1-slashes] == '\\' {
			slashes++
		}
		i += n + 1
		if slashes%2 == 0 {
			return i
		}
	}
	return -1
}

func skipNested(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := skipString(b[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// integer reads a JSON number without sign, fraction or exponent.
func integer(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
