package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/internal/httpapi"
)

// unknown collects a name that the schema does not know.
func (d *decoder) unknown(name string, known []string) {
	if d.told >= maxEventErrors {
		return
	}
	problem := "unknown field"
	if near, ok := httpapi.Nearest(name, known); ok {
		problem += ", did you mean " + strconv.Quote(near) + "?"
	}
	d.fail(httpapi.Printable(name), problem)
}

// malformed says where the body stops being JSON that we take, and why.
func (d *decoder) malformed(err error) *httpapi.FieldError {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return d.duplicate(syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &httpapi.FieldError{Message: d.position(len(d.body)) + "unexpected end of JSON"}
	case syntax != nil:
		return &httpapi.FieldError{Message: d.position(int(syntax.ByteOffset)) + syntax.Err.Error()}
	}
	return &httpapi.FieldError{Message: d.position(int(d.json.InputOffset())) + "not valid JSON"}
}

// duplicate names the repeated member as a client writes paths: details.a.b.
func (d *decoder) duplicate(syntax *jsontext.SyntacticError) *httpapi.FieldError {
	path := slices.Collect(syntax.JSONPointer.Tokens())
	if d.index != nil && len(path) > 2 {
		path = path[2:] // what stands before is /events/index
	}
	return &httpapi.FieldError{
		Field:   httpapi.Printable(strings.Join(path, ".")),
		Message: d.position(int(syntax.ByteOffset)) + "the name stands more than once in its object",
		Index:   d.index,
	}
}

// position tells a byte of the body as people count: lines and bytes in the line, from 1.
func (d *decoder) position(at int) string {
	before := d.body[:min(at, len(d.body))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d: ", line, column)
}

// fieldOf returns the index of a member's name, quoted as it stands, in known, or -1.
