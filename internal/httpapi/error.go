package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
)

// The values of an error's member `code`: what a program decides by. Handlers may use others beside them.
const (
	CodeInvalidRequest    = "invalid_request"
	CodeInvalidField      = "invalid_field"
	CodeInvalidParameter  = "invalid_parameter"
	CodeMalformedJSON     = "malformed_json"
	CodeUnauthorized      = "unauthorized"
	CodeForbidden         = "forbidden"
	CodeInsufficientScope = "insufficient_scope"
	CodeNotFound          = "not_found"
	CodeMethodNotAllowed  = "method_not_allowed"
	CodeRequestTimeout    = "request_timeout"
	CodeConflict          = "conflict"
	CodeBodyTooLarge      = "body_too_large"
	CodeUnsupportedMedia  = "unsupported_media_type"
	CodeRateLimited       = "rate_limited"
	CodeHeadersTooLarge   = "headers_too_large"
	CodeInternal          = "internal"
	CodeUnavailable       = "unavailable"
	CodeStorageFull       = "storage_full"
	CodeNotReady          = "not_ready"
	CodeOverloaded        = "overloaded"
)

// Error is a failure as the client sees it. A handler returns it; the server writes it.
type Error struct {
	Status  int
	Code    string // for programs, e.g. "invalid_field"
	Message string // for people
	Fields  []FieldError
	Headers []Header
	// Extra are more members of the answer, by name; the values are written by encoding/json.
	Extra map[string]any
	// Cause is for the log and is never shown to the client.
	Cause error
}

// FieldError says what is wrong with one field, or one parameter.
type FieldError struct {
	Field   string
	Message string
	Index   *int // of the event in a batch; nil: left out
}

// Header is one header of an answer. Its name is written exactly as it stands here.
type Header struct{ Name, Value string }

// Error returns the message, and the cause where there is one: it is for logs, not for clients.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// BadRequest is 400 about the request as a whole.
func BadRequest(code, message string) *Error {
	return &Error{Status: fiber.StatusBadRequest, Code: code, Message: message}
}

// InvalidFields is 400 about fields of the body. The message tells the first three. A single error that names neither a
// field nor an event is about the body as a whole: then the code is malformed_json, and there are no field errors.
func InvalidFields(fields ...FieldError) *Error {
	if len(fields) == 1 && fields[0].Field == "" && fields[0].Index == nil {
		return BadRequest(CodeMalformedJSON, "Malformed JSON: "+fields[0].Message+".")
	}
	e := BadRequest(CodeInvalidField, summary(fields))
	e.Fields = fields
	return e
}

// InvalidParameters is 400 about parameters of the query string. The message tells the first three.
func InvalidParameters(fields ...FieldError) *Error {
	e := BadRequest(CodeInvalidParameter, summary(fields))
	e.Fields = fields
	return e
}

const summaryFields = 3

// Alternatives writes words as people do, for messages: "nominal, warning or critical".
func Alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// summary puts the first errors into one sentence for people who read only the message.
func summary(fields []FieldError) string {
	var b strings.Builder
	for i, f := range fields {
		if i == summaryFields {
			fmt.Fprintf(&b, " (and %d more)", len(fields)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		if f.Index != nil {
			fmt.Fprintf(&b, "events[%d]", *f.Index)
			if f.Field != "" {
				b.WriteByte('.')
			}
		}
		b.WriteString(f.Field)
		if f.Index != nil || f.Field != "" {
			b.WriteString(": ")
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

// Unauthorized is 401, the same for a missing, a malformed and an unknown API key.
func Unauthorized() *Error {
	return &Error{
		Status:  fiber.StatusUnauthorized,
		Code:    CodeUnauthorized,
		Message: "A valid API key is required: Authorization: Bearer kp_live_…",
		Headers: []Header{{fiber.HeaderWWWAuthenticate, "Bearer"}},
	}
}

// Forbidden is 403.
func Forbidden(message string) *Error {
	return &Error{Status: fiber.StatusForbidden, Code: CodeForbidden, Message: message}
}

// InsufficientScope is 403 for an API key that lacks a scope.
func InsufficientScope(scope string) *Error {
	return &Error{
		Status:  fiber.StatusForbidden,
		Code:    CodeInsufficientScope,
		Message: "This API key lacks the scope " + strconv.Quote(scope) + ".",
		Headers: []Header{{fiber.HeaderWWWAuthenticate, `Bearer error="insufficient_scope", scope="` + scope + `"`}},
	}
}

// NotFound is 404.
func NotFound(message string) *Error {
	return &Error{Status: fiber.StatusNotFound, Code: CodeNotFound, Message: message}
}

// Conflict is 409.
func Conflict(message string) *Error {
	return &Error{Status: fiber.StatusConflict, Code: CodeConflict, Message: message}
}

// BodyTooLarge is 413; limit is in bytes.
func BodyTooLarge(limit int) *Error {
	return &Error{
		Status:  fiber.StatusRequestEntityTooLarge,
		Code:    CodeBodyTooLarge,
		Message: "The request body is larger than " + strconv.Itoa(limit) + " bytes.",
	}
}

// UnsupportedMediaType is 415.
func UnsupportedMediaType(message string) *Error {
	return &Error{Status: fiber.StatusUnsupportedMediaType, Code: CodeUnsupportedMedia, Message: message}
}

// Unavailable is 503 with Retry-After in seconds.
func Unavailable(code, message string, retryAfter int) *Error {
	return &Error{
		Status:  fiber.StatusServiceUnavailable,
		Code:    code,
		Message: message,
		Headers: []Header{{fiber.HeaderRetryAfter, strconv.Itoa(retryAfter)}},
	}
}

// StorageFull is 503: nothing is written until there is room again. The cause says how much is missing.
func StorageFull(cause error) *Error {
	e := Unavailable(CodeStorageFull, "The log's disk is nearly full; nothing is accepted until there is room.", 30)
	e.Cause = cause
	return e
}

// Internal is 500. The client sees nothing of the cause; the log does.
func Internal(cause error) *Error {
	return &Error{
		Status:  fiber.StatusInternalServerError,
		Code:    CodeInternal,
		Message: "Something went wrong on our side. Quote the request_id when you report it.",
		Cause:   cause,
	}
}

func rateLimited(d auth.Decision) *Error {
	after := strconv.Itoa(d.RetryAfter)
	return &Error{
		Status:  fiber.StatusTooManyRequests,
		Code:    CodeRateLimited,
		Message: "Rate limit exceeded: at most " + strconv.Itoa(d.Limit) + " requests in any 60 seconds. Retry in " + after + " s.",
		Headers: []Header{{fiber.HeaderRetryAfter, after}},
	}
}

// asError makes whatever a handler or Fiber returned an Error.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var f *fiber.Error
	if errors.As(err, &f) {
		return fromFiber(f)
	}
	return Internal(err)
}

func fromFiber(f *fiber.Error) *Error {
	switch f.Code {
	case fiber.StatusNotFound:
		return NotFound("There is nothing at this path.")
	case fiber.StatusMethodNotAllowed:
		return methodNotAllowed()
	case fiber.StatusBadRequest:
		return BadRequest(CodeInvalidRequest, "The request is not valid.")
	}
	return Internal(f)
}

func methodNotAllowed() *Error {
	return &Error{
		Status:  fiber.StatusMethodNotAllowed,
		Code:    CodeMethodNotAllowed,
		Message: "This path does not take this method: see the header Allow.",
	}
}

// appendJSON appends the body of the error's answer to b.
func (e *Error) appendJSON(b []byte, requestID string) []byte {
	b = append(b, `{"success":false,"message":`...)
	b = appendQuoted(b, e.Message)
	b = append(b, `,"code":`...)
	b = appendQuoted(b, e.Code)
	b = append(b, `,"request_id":`...)
	b = appendQuoted(b, requestID)
	if len(e.Fields) > 0 {
		b = append(b, `,"errors":[`...)
		for i, f := range e.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = f.appendJSON(b)
		}
		b = append(b, ']')
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		value, err := marshal(e.Extra[name])
		if err != nil {
			panic(fmt.Sprintf("BUG: encode member %q of an error: %v", name, err))
		}
		b = append(b, ',')
		b = appendQuoted(b, name)
		b = append(b, ':')
		b = append(b, value...)
	}
	return append(b, '}')
}

func (f FieldError) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if f.Index != nil {
		b = append(b, `"index":`...)
		b = strconv.AppendInt(b, int64(*f.Index), 10)
		b = append(b, ',')
	}
	b = append(b, `"field":`...)
	b = appendQuoted(b, f.Field)
	b = append(b, `,"message":`...)
	b = appendQuoted(b, f.Message)
	return append(b, '}')
}

// appendQuoted appends s as a JSON string; bytes that are not UTF-8 become U+FFFD, which is all that its error says.
func appendQuoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
