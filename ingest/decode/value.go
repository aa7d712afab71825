package decode

import "encoding/binary"

// maxDepth is how many brackets may be open at once in a body: what encoding/json/v2 takes.
const maxDepth = 10000

// skip passes over the value at i, inside so many open brackets. It notes how deep the value is.
func (d *Decoder) skip(i, open int) int {
	d.value, d.deep = i, 0
	d.names.fresh()
	return d.any(i, open, 0)
}

// any reads the value at i, which is deep brackets below the value that skip began with.
func (d *Decoder) any(i, open, deep int) int {
	b := d.body
	if i >= len(b) {
		return broken
	}
	switch c := b[i]; c {
	case '"':
		end, _ := scanString(b, i+1)
		return end
	case '{', '[':
		deep++
		if open+deep > maxDepth {
			return broken
		}
		d.deep = max(d.deep, deep)
		if c == '{' {
			return d.object(i+1, open, deep)
		}
		return d.elements(i+1, open, deep)
	case 't':
		return d.literal(i, "true")
	case 'f':
		return d.literal(i, "false")
	case 'n':
		return d.literal(i, "null")
	}
	return scanNumber(b, i)
}

// object reads the members of an object, and its closing bracket.
func (d *Decoder) object(i, open, deep int) int {
	mark := d.names.mark()
	i = d.blanks(i)
	for more := i < len(d.body) && d.body[i] != '}'; more; {
		name, at := d.name(i)
		if at == broken {
			return broken
		}
		// A value of more bytes than details may have is refused anyway, so that what is remembered of names is bounded.
		if i-d.value <= maxDetails && !d.names.add(text(name)) {
			return broken
		}
		end := d.any(at, open, deep)
		if end == broken {
			return broken
		}
		if i, more = d.comma(end); i == broken {
			return broken
		}
	}
	d.names.release(mark)
	return d.byte(i, '}')
}

// elements reads the elements of an array, and its closing bracket.
func (d *Decoder) elements(i, open, deep int) int {
	i = d.blanks(i)
	for more := i < len(d.body) && d.body[i] != ']'; more; {
		end := d.any(i, open, deep)
		if end == broken {
			return broken
		}
		if i, more = d.comma(end); i == broken {
			return broken
		}
	}
	return d.byte(i, ']')
}

// comma passes over a comma and blanks, and reports whether there was one: then another member or element must follow.
func (d *Decoder) comma(i int) (next int, more bool) {
	if i = d.blanks(i); i == len(d.body) {
		return broken, false
	}
	if d.body[i] != ',' {
		return i, false
	}
	return d.blanks(i + 1), true
}

// name reads a member's name and its colon, and returns where its value begins.
func (d *Decoder) name(i int) ([]byte, int) {
	b := d.body
	if i >= len(b) || b[i] != '"' {
		return nil, broken
	}
	end, escaped := scanString(b, i+1)
	if end == broken {
		return nil, broken
	}
	name := b[i+1 : end-1]
	if escaped {
		name = d.unescape(name)
	}
	if end < len(b) && b[end] == ':' { // nearly always
		return name, d.blanks(end + 1)
	}
	if end = d.byte(d.blanks(end), ':'); end == broken {
		return nil, broken
	}
	return name, d.blanks(end)
}

// str reads the string whose quote stands at i.
func (d *Decoder) str(i int) (string, int) {
	end, escaped := scanString(d.body, i+1)
	if end == broken {
		return "", broken
	}
	s := d.body[i+1 : end-1]
	if escaped {
		s = d.unescape(s)
	}
	return text(s), end
}

// byte passes over one byte.
func (d *Decoder) byte(i int, c byte) int {
	if i < 0 || i >= len(d.body) || d.body[i] != c {
		return broken
	}
	return i + 1
}

// literal passes over one of true, false and null.
func (d *Decoder) literal(i int, word string) int {
	if end := i + len(word); end <= len(d.body) && string(d.body[i:end]) == word {
		return end
	}
	return broken
}

// blanks passes over white space.
func (d *Decoder) blanks(i int) int {
	b := d.body
	for i < len(b) && b[i] <= ' ' {
		switch b[i] {
		case ' ', '\n', '\t', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// scanNumber reads a number.
func scanNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		if i = digits(b, i); i == broken {
			return broken
		}
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i == broken {
			return broken
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits passes over one digit or more.
func digits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return broken
	}
	return i
}

// eight reads eight bytes at once, the first one lowest.
func eight(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8]) }
