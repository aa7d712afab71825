package rules

import (
	"fmt"
	"unicode/utf8"
)

// The limits of an expression. They are looked at before anything parses it.
const (
	MaxExpression = 4 << 10 // bytes
	MaxBrackets   = 64      // levels
	maxPrefixes   = 64      // of !, - and + in a row, which nest like brackets
	maxNodes      = 4 << 10 // of the syntax tree as it is walked
)

// guard refuses an expression that is too large to be parsed safely. The error's place is a character of src.
func guard(src string) (message string, offset int) {
	if len(src) > MaxExpression {
		return fmt.Sprintf("the expression has %d bytes; at most %d are allowed", len(src), MaxExpression), 0
	}
	if !utf8.ValidString(src) {
		return "the expression is not UTF-8", 0
	}
	depth, prefixes := 0, 0
	for i := 0; i < len(src); {
		switch c := src[i]; c {
		case '!', '-', '+':
			if prefixes++; prefixes > maxPrefixes {
				return fmt.Sprintf("more than %d operators in a row", maxPrefixes), utf8.RuneCountInString(src[:i])
			}
			i++
			continue
		case ' ', '\t', '\n', '\r':
			i++
			continue
		case '"', '\'', '`':
			prefixes, i = 0, skipQuoted(src, i)
			continue
		case '/':
			prefixes, i = 0, skipComment(src, i)
			continue
		case '(', '[', '{':
			if depth++; depth > MaxBrackets {
				return fmt.Sprintf("more than %d levels of brackets", MaxBrackets), utf8.RuneCountInString(src[:i])
			}
		case ')', ']', '}':
			depth--
		}
		prefixes = 0
		i++
	}
	return "", 0
}

// skipQuoted returns the position after the string literal that starts at i; the end when it does not end.
func skipQuoted(src string, i int) int {
	quote := src[i]
	for i++; i < len(src); i++ {
		switch {
		case src[i] == quote:
			return i + 1
		case src[i] == '\\' && quote != '`':
			i++
		}
	}
	return len(src)
}

// skipComment returns the position after the comment that starts at i; after the slash when it is a division.
func skipComment(src string, i int) int {
	if i+1 == len(src) || src[i+1] != '/' && src[i+1] != '*' {
		return i + 1
	}
	line := src[i+1] == '/'
	for i += 2; i < len(src); i++ {
		if line && src[i] == '\n' {
			return i + 1
		}
		if !line && src[i] == '*' && i+1 < len(src) && src[i+1] == '/' {
			return i + 2
		}
	}
	return len(src)
}
