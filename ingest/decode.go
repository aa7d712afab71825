package ingest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

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
