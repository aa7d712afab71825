package admin

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
)

const bodyLimit = 64 << 10

// read reads a JSON body strictly into a struct; none is an empty object. Its error names every member that is unknown or of
// another type.
func read(c *fiber.Ctx, into any) error {
	body, err := httpapi.Body(c, bodyLimit)
	if err != nil || len(body) == 0 {
		return err
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	object, err := d.ReadValue()
	if err != nil {
		return httpapi.BadRequest(httpapi.CodeMalformedJSON, "Malformed JSON: "+err.Error()+".")
	}
	if object.Kind() != '{' || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return httpapi.InvalidFields(httpapi.FieldError{Message: "expected one JSON object"})
	}
	target := reflect.ValueOf(into).Elem()
	known := names(target.Type())
	var bad []httpapi.FieldError
	members := jsontext.NewDecoder(bytes.NewReader(object))
	_, _ = members.ReadToken() // the brace: ReadValue has seen that all of it is JSON
	for members.PeekKind() == '"' {
		token, _ := members.ReadToken()
		name := token.String()
		value, _ := members.ReadValue()
		i := slices.Index(known, name)
		if i < 0 {
			bad = append(bad, unknown(name, known))
			continue
		}
		if err := json.Unmarshal(value, target.Field(i).Addr().Interface()); err != nil {
			bad = append(bad, httpapi.FieldError{Field: name, Message: "must be " + wanted(target.Field(i).Type())})
		}
	}
	if bad != nil {
		return httpapi.InvalidFields(bad...)
	}
	return nil
}

// names are the members of a struct's JSON, by its fields.
func names(t reflect.Type) []string {
	all := make([]string, t.NumField())
	for i := range all {
		all[i] = t.Field(i).Tag.Get("json")
	}
	return all
}

func unknown(name string, known []string) httpapi.FieldError {
	message := "unknown field"
	if near, ok := httpapi.Nearest(name, known); ok {
		message += fmt.Sprintf(", did you mean %q?", near)
	}
	return httpapi.FieldError{Field: httpapi.Printable(name), Message: message}
}

// wanted is a type as people say it.
func wanted(t reflect.Type) string {
	switch t.String() {
	case "int64", "*int64", "*int":
		return "an integer"
	case "*time.Time":
		return "an RFC 3339 time, e.g. 2026-04-05T12:34:00.000Z"
	case "[]string":
		return "an array of strings"
	}
	return "a string"
}
