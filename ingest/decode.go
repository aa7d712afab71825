package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// The bounds of an event's fields: the API's reference promises them.
const (
	maxString       = 256      // bytes of key_id, event_type, actor
	maxEventID      = 128      // characters
	maxDetails      = 16 << 10 // bytes, as sent
	maxDetailsDepth = 32       // levels; the object itself is the first
)

// maxEventErrors is how many errors of one event are told; its further ones are left out.
const maxEventErrors = 20

// The members of an event, required ones first.
const (
	fieldKeyID = iota
	fieldType
	fieldSeverity
	requiredFields

	fieldSourceIP = iota - 1
	fieldActor
	fieldDetails
	fieldEventID
	fieldCount
)

var (
	eventFields = []string{"key_id", "event_type", "severity", "source_ip", "actor", "details", "event_id"}
	batchFields = []string{"events"}
)

// decodeEvent decodes the body of POST /api/events. Either there is no error and the event is valid, or the errors say
// everything that is wrong with it. What is wrong with the body as a whole (no JSON, no object) is one error that
// names no field.
//
// JSON is taken strictly: names match exactly; an unknown or a repeated name is an error, in details too, and so are bad
// UTF-8, lone surrogates and anything after the object. null for an optional field means that it was not sent, so that an
// event can be sent as it is answered. The event keeps no reference to body. Tenant, CreatedAt and RulesRev are the
// caller's to set, and EventID where OwnID is false.
func decodeEvent(body []byte) (schema.Event, []httpapi.FieldError) {
	d := openDecoder(body)
	defer d.close()
	e, err := d.event()
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return schema.Event{}, []httpapi.FieldError{*err}
	}
	return e, d.errs
}

// decodeBatch decodes the body of POST /api/events/batch: {"events": [ … ]} with 1 to limit events. Either there is no
// error and the events are valid, or the errors name every bad event by its index. An error about the batch itself has
// no index, and then those of its events are left out. decodeEvent says the rest.
func decodeBatch(body []byte, limit int) ([]schema.Event, []httpapi.FieldError) {
	d := openDecoder(body)
	defer d.close()
	events, fatal := d.batch(limit)
	if fatal == nil {
		fatal = d.end()
	}
	if fatal != nil {
		return nil, []httpapi.FieldError{*fatal}
	}
	if whole := slices.DeleteFunc(slices.Clone(d.errs), hasIndex); len(whole) > 0 {
		return nil, whole
	}
	if d.errs != nil {
		return nil, d.errs
	}
	return events, nil
}

func hasIndex(e httpapi.FieldError) bool { return e.Index != nil }

// decoder reads events from one body. Its methods return an error only for what ends the reading: bytes that are not
// JSON. What is JSON and no event is collected in errs, so that a client learns of all its mistakes at once.
type decoder struct {
	json  jsontext.Decoder
	body  []byte
	index *int // of the event at hand in its batch, nil outside one
	told  int  // errors of the event at hand
	errs  []httpapi.FieldError
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func openDecoder(body []byte) *decoder {
	d, _ := decoders.Get().(*decoder)
	d.body = body
	d.json.Reset(bytes.NewBuffer(body)) // jsontext reads a bytes.Buffer in place
	return d
}

// close gives the decoder back with nothing of the body in it.
func (d *decoder) close() {
	d.json.Reset(bytes.NewBuffer(nil))
	d.body, d.index, d.told, d.errs = nil, nil, 0, nil
	decoders.Put(d)
}

// event reads one value, which should be an event.
func (d *decoder) event() (schema.Event, *httpapi.FieldError) {
	var e schema.Event
	var seen [fieldCount]bool
	isObject, fatal := d.members(eventFields, func(field int) *httpapi.FieldError {
		value, fatal := d.value()
		if fatal == nil {
			seen[field] = true
			d.set(&e, field, value)
		}
		return fatal
	})
	if !isObject || fatal != nil {
		return e, fatal
	}
	for i, name := range eventFields[:requiredFields] {
		if !seen[i] {
			d.fail(name, "is required")
		}
	}
	return e, nil
}

// batch reads one value, which should be a batch.
func (d *decoder) batch(limit int) ([]schema.Event, *httpapi.FieldError) {
	var events []schema.Event
	sent := false
	isObject, fatal := d.members(batchFields, func(int) (fatal *httpapi.FieldError) {
		sent = true
		events, fatal = d.events(limit)
		return fatal
	})
	if isObject && fatal == nil && !sent {
		d.fail("events", "is required")
	}
	return events, fatal
}

// events reads the batch's array. Beyond limit it only counts.
func (d *decoder) events(limit int) ([]schema.Event, *httpapi.FieldError) {
	if ok, fatal := d.enter('[', "events", "must be an array"); !ok {
		return nil, fatal
	}
	var events []schema.Event
	n := 0
	for ; d.json.PeekKind() != ']'; n++ {
		if n >= limit {
			if _, fatal := d.value(); fatal != nil {
				return nil, fatal
			}
			continue
		}
		index := n
		d.index, d.told = &index, 0
		e, fatal := d.event()
		d.index, d.told = nil, 0
		if fatal != nil {
			return nil, fatal
		}
		events = append(events, e)
	}
	if n == 0 || n > limit {
		d.fail("events", fmt.Sprintf("must hold 1 to %d events, not %d", limit, n))
	}
	return events, d.leave()
}

// members reads an object and calls read for each member that is one of known, to read its value. Members that are not
// known, and a value that is no object, are collected as errors.
func (d *decoder) members(known []string, read func(field int) *httpapi.FieldError) (isObject bool, fatal *httpapi.FieldError) {
	if ok, fatal := d.enter('{', "", "expected a JSON object"); !ok {
		return false, fatal
	}
	for d.json.PeekKind() != '}' {
		if fatal := d.memberOf(known, read); fatal != nil {
			return true, fatal
		}
	}
	return true, d.leave()
}

func (d *decoder) memberOf(known []string, read func(field int) *httpapi.FieldError) *httpapi.FieldError {
	name, fatal := d.value()
	if fatal != nil {
		return fatal
	}
	if field := fieldOf(name, known); field >= 0 {
		return read(field)
	}
	d.unknown(text(name), known)
	_, fatal = d.value()
	return fatal
}

// enter reads the opening bracket. Where another kind of value stands, it reads that and collects the error.
func (d *decoder) enter(kind jsontext.Kind, field, problem string) (bool, *httpapi.FieldError) {
	if d.json.PeekKind() != kind {
		_, fatal := d.value()
		if fatal == nil {
			d.fail(field, problem)
		}
		return false, fatal
	}
	return true, d.leave()
}

// leave reads one bracket.
func (d *decoder) leave() *httpapi.FieldError {
	if _, err := d.json.ReadToken(); err != nil {
		return d.malformed(err)
	}
	return nil
}

// value reads one value, or a member's name, as it stands in the body. It is valid until the next one is read.
func (d *decoder) value() (jsontext.Value, *httpapi.FieldError) {
	v, err := d.json.ReadValue()
	if err != nil {
		return nil, d.malformed(err)
	}
	return v, nil
}

// end makes sure that nothing follows.
func (d *decoder) end() *httpapi.FieldError {
	at := int(d.json.InputOffset())
	rest := bytes.TrimLeft(d.body[at:], " \t\r\n")
	if len(rest) == 0 {
		return nil
	}
	return &httpapi.FieldError{Message: d.position(len(d.body)-len(rest)) + "unexpected data after the JSON object"}
}

// set checks the value of a member and puts it into the event.
func (d *decoder) set(e *schema.Event, field int, value jsontext.Value) {
	if value.Kind() == 'n' && field >= requiredFields {
		return
	}
	switch field {
	case fieldKeyID:
		e.KeyID = d.shortString(field, value)
	case fieldType:
		e.Type = d.shortString(field, value)
	case fieldSeverity:
		e.Severity = d.severity(value)
	case fieldSourceIP:
		e.SourceIP = d.address(value)
	case fieldActor:
		e.Actor = d.shortString(field, value)
	case fieldDetails:
		e.Details = d.details(value)
	case fieldEventID:
		e.EventID, e.OwnID = d.eventID(value), true
	}
}

// shortString takes a string of 1 to maxString bytes.
func (d *decoder) shortString(field int, value jsontext.Value) string {
	s, ok := d.str(field, value)
	if ok && (len(s) == 0 || len(s) > maxString) {
		d.fail(eventFields[field], fmt.Sprintf("must be 1 to %d bytes long, not %d", maxString, len(s)))
	}
	return s
}

func (d *decoder) eventID(value jsontext.Value) string {
	s, ok := d.str(fieldEventID, value)
	if n := utf8.RuneCountInString(s); ok && (n == 0 || n > maxEventID) {
		d.fail("event_id", fmt.Sprintf("must be 1 to %d characters long, not %d", maxEventID, n))
	}
	return s
}

func (d *decoder) severity(value jsontext.Value) schema.Severity {
	s, ok := d.str(fieldSeverity, value)
	severity, known := schema.ParseSeverity(s)
	if ok && !known {
		d.fail("severity", "must be nominal, warning or critical")
	}
	return severity
}

// address takes an IP address and returns its canonical text, an IPv4-mapped one as IPv4.
func (d *decoder) address(value jsontext.Value) string {
	s, ok := d.str(fieldSourceIP, value)
	if !ok {
		return ""
	}
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		d.fail("source_ip", "must be an IPv4 or IPv6 address")
		return ""
	case addr.Zone() != "":
		d.fail("source_ip", "must be an address without a zone")
		return ""
	}
	return addr.Unmap().String()
}

// details takes an object as it stands.
func (d *decoder) details(value jsontext.Value) []byte {
	switch {
	case value.Kind() != '{':
		d.fail("details", "must be an object")
	case len(value) > maxDetails:
		d.fail("details", fmt.Sprintf("must be at most %d bytes long, not %d", maxDetails, len(value)))
	case depth(value) > maxDetailsDepth:
		d.fail("details", fmt.Sprintf("must be at most %d levels deep", maxDetailsDepth))
	default:
		return bytes.Clone(value)
	}
	return nil
}

// str takes a string. U+0000 is refused: in the log a zero byte separates the tenant from the key_id, and much of what
// reads our data ends a string there.
func (d *decoder) str(field int, value jsontext.Value) (string, bool) {
	if value.Kind() != '"' {
		d.fail(eventFields[field], "must be a string")
		return "", false
	}
	s := text(value)
	if strings.IndexByte(s, 0) >= 0 {
		d.fail(eventFields[field], "must not contain U+0000")
		return "", false
	}
	return s, true
}

// fail collects what is wrong with a field of the event at hand.
func (d *decoder) fail(field, problem string) {
	if d.told++; d.told <= maxEventErrors {
		d.errs = append(d.errs, httpapi.FieldError{Field: field, Message: problem, Index: d.index})
	}
}

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
func fieldOf(quoted jsontext.Value, known []string) int {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		return slices.Index(known, text(quoted))
	}
	for i, k := range known {
		if string(name) == k {
			return i
		}
	}
	return -1
}

// text returns a copy of the string that a valid JSON string stands for.
func text(quoted jsontext.Value) string {
	if plain := quoted[1 : len(quoted)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain)
	}
	s, _ := jsontext.AppendUnquote(nil, quoted) // the decoder has validated it
	return string(s)
}

// depth returns how many brackets are open at once in a valid JSON value.
func depth(value jsontext.Value) int {
	deepest, open, inString := 0, 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}
