package decode

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/internal/httpapi"
)

// explain says where the body stops being JSON that we take, and why. To know only that it does is what makes reading
// fast; so a body that is broken is read again, by jsontext, for its words.
func (d *Decoder) explain() *httpapi.FieldError {
	json := jsontext.NewDecoder(bytes.NewBuffer(d.body))
	err := json.SkipValue()
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return d.duplicate(syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &httpapi.FieldError{Message: d.position(len(d.body)) + "unexpected end of JSON"}
	case syntax != nil:
		return &httpapi.FieldError{Message: d.position(int(syntax.ByteOffset)) + syntax.Err.Error()}
	}
	return &httpapi.FieldError{Message: d.position(int(json.InputOffset())) + "not valid JSON"}
}

// duplicate names the repeated member as a client writes paths: details.a.b.
func (d *Decoder) duplicate(syntax *jsontext.SyntacticError) *httpapi.FieldError {
	path := slices.Collect(syntax.JSONPointer.Tokens())
	if d.index != none && len(path) > 2 && path[0] == batchFields[0] {
		path = path[2:] // what stands before is /events/index
	}
	return &httpapi.FieldError{
		Field:   httpapi.Printable(strings.Join(path, ".")),
		Message: d.position(int(syntax.ByteOffset)) + "the name stands more than once in its object",
		Index:   d.indexed(),
	}
}
