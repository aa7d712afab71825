package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is one thing that is wrong with a rule, with its place in the field's text where there is one.
type Error struct {
	File    string `json:"file,omitempty"`   // of a rule file; "" elsewhere
	Field   string `json:"field"`            // the rule's field; "" when the rule as a whole is meant
	Line    int    `json:"line,omitempty"`   // from 1; 0 = no place
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Message string `json:"message"`
	Snippet string `json:"snippet,omitempty"` // the line, and below it a caret at the column
}

// Error writes the error as "file:line:column: field: message" and the snippet below it.
func (e Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	if e.Snippet != "" {
		b.WriteByte('\n')
		b.WriteString(e.Snippet)
	}
	return b.String()
}

// Errors is everything that is wrong with a rule or a rule file. As an error it has one error after the other.
type Errors []Error

// Error joins the errors with line breaks.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// err returns e as an error, nil when it is empty.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// fieldError is an error about a field as a whole.
func fieldError(field, format string, args ...any) Error {
	return Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

// InFile returns e placed in a file of these lines; e's own snippet, if it has one, stays.
func (e Error) InFile(name string, lines []string, line, column int) Error {
	e.File, e.Line, e.Column = name, line, column
	if e.Snippet == "" && line > 0 && line <= len(lines) {
		e.Snippet = snippet(lines[line-1], column)
	}
	return e
}

// snippetWidth is how many characters of a long line a snippet shows on either side of the caret.
const snippetWidth = 60

// at returns e placed at the character with index offset (in runes) of text.
func (e Error) at(text string, offset int) Error {
	e.Line, e.Column = 1, 1
	start, runes := 0, 0
	for i, r := range text {
		if runes == offset {
			break
		}
		runes++
		e.Column++
		if r == '\n' {
			e.Line, e.Column, start = e.Line+1, 1, i+1
		}
	}
	line := text[start:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	e.Snippet = snippet(line, e.Column)
	return e
}

// snippet shows line with a caret below column (from 1), cut to a readable width.
func snippet(line string, column int) string {
	runes := []rune(strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", " "))
	caret := min(column-1, len(runes))
	from, to := max(0, caret-snippetWidth), min(len(runes), caret+snippetWidth)
	head, tail := "", ""
	if from > 0 {
		head = "…"
	}
	if to < len(runes) {
		tail = "…"
	}
	indent := caret - from + utf8.RuneCountInString(head)
	return " | " + head + string(runes[from:to]) + tail + "\n | " + strings.Repeat(".", indent) + "^"
}
