package rules

import (
	"strings"
	"unicode/utf8"
)

// part is a piece of a message: literal text, or an expression in its place.
type part struct {
	text  string
	value func(*Scope) Value // nil: text
}

// compileTemplate splits a message at {{ and }} and compiles what is between.
func compileTemplate(text string, t *tables, m *meter, errs *Errors) []part {
	var parts []part
	for at := 0; at < len(text); {
		start := strings.Index(text[at:], "{{")
		if start < 0 {
			parts = append(parts, part{text: text[at:]})
			break
		}
		start += at
		if start > at {
			parts = append(parts, part{text: text[at:start]})
		}
		from := start + len("{{")
		end := closing(text, from)
		if end < 0 {
			*errs = append(*errs, Error{Field: "message", Message: "{{ is not closed by }}"}.
				at(text, utf8.RuneCountInString(text[:start])))
			break
		}
		e, _ := compileExpression("message", text, text[from:end], utf8.RuneCountInString(text[:from]), t, m, errs)
		m.total += nsQuote*e.size.quoted + nsCopy*e.size.json
		parts = append(parts, part{value: e.value})
		at = end + len("}}")
	}
	return parts
}

// closing returns the position of the }} that ends the expression at from, -1 when there is none: one in a string
// or inside of a map does not count.
func closing(text string, from int) int {
	depth := 0
	for i := from; i < len(text); {
		switch text[i] {
		case '"', '\'', '`':
			i = skipQuoted(text, i)
			continue
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(text[i:], "}}") {
				return i
			}
			depth--
		}
		i++
	}
	return -1
}

// render writes the parts, cut to [MaxRendered] bytes at a character.
func render(parts []part, s *Scope) string {
	var b []byte
	for _, p := range parts {
		if p.value == nil {
			b = append(b, p.text...)
		} else {
			b = p.value(s).AppendText(b)
		}
		if len(b) > MaxRendered {
			break
		}
	}
	if len(b) > MaxRendered {
		end := MaxRendered
		for end > 0 && !utf8.RuneStart(b[end]) {
			end--
		}
		b = b[:end]
	}
	return string(b)
}
