// Package decode reads events from JSON: strictly, in one pass, and without copies.
//
// The invariant it keeps: it takes exactly what encoding/json/v2 takes with unknown members refused, and of that what the
// API's reference allows; FuzzDecodeEvent holds it to that. Names match exactly. An unknown or a repeated name is an error, in
// details too, and so are bad UTF-8, lone surrogates and anything after the value. null for an optional field means that
// it was not sent, so that an event can be sent as it is answered. Details are the very bytes that were sent.
//
//	d := decode.Open(body)
//	defer d.Close()
//	events, errs := d.Batch(100)
//
// Events lie in the body and in the decoder's own memory: they are valid until Close, as long as nobody changes the
// body, and what outlives that must be cloned. Steady state allocates nothing.
package decode

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// MaxEventID is how many characters an event_id has at most.
const MaxEventID = 128

// The bounds of an event's fields: the API's reference promises them.
const (
	maxString       = 256      // bytes of key_id, event_type, actor
	maxDetails      = 16 << 10 // bytes, as sent
	maxDetailsDepth = 32       // levels; the object itself is the first
)

// maxEventErrors is how many errors of one event are told; its further ones are left out.
const maxEventErrors = 20

// Decoder reads the events of one body, or of many lines. One goroutine owns it.
type Decoder struct {
	body []byte
	line int // the body's first line, as people count

	events []schema.Event
	arena  []byte // what does not stand in the body as it is: unescaped strings, canonical addresses
	names  names
	value  int // where the member's value at hand begins
	deep   int // how many brackets were open at once in it

	index int // of the event at hand in its batch, or its line; none for a single one
	told  int // errors of the event at hand
	errs  []httpapi.FieldError
}

// none is the index of what is not one of several.
const none = -1

var decoders = sync.Pool{New: func() any { return new(Decoder) }}

// Open makes a decoder of a body.
func Open(body []byte) *Decoder {
	d, _ := decoders.Get().(*Decoder)
	d.body, d.line, d.index = body, 1, none
	return d
}

// maxKept bounds the memory that a closed decoder keeps for the next body.
const maxKept = 1 << 20

// Close ends the life of the events. The decoder must not be used again.
func (d *Decoder) Close() {
	d.Reset()
	if cap(d.arena) <= maxKept {
		decoders.Put(d)
	}
}

// Reset ends the life of the events and forgets the errors, but keeps the decoder for more lines.
func (d *Decoder) Reset() {
	clear(d.events)
	d.names.reset()
	d.events, d.arena, d.errs = d.events[:0], d.arena[:0], nil
	d.body, d.index = nil, none
}

// Event reads the body as one event. Either there is no error and one event, or the errors say everything that is wrong
// with it. What is wrong with the body as a whole (no JSON, no object) is one error that names no field. Tenant, CreatedAt
// and RulesRev are the caller's to set, and EventID where OwnID is false.
func (d *Decoder) Event() ([]schema.Event, []httpapi.FieldError) {
	d.told = 0
	return d.result(d.whole(d.event(d.blanks(0))))
}

// Batch reads the body as {"events": [ … ]} with 1 to limit events. Either there is no error and the events are valid, or
// the errors name every bad event by its index. An error about the batch itself has no index, and then those of its
// events are left out. [Decoder.Event] says the rest.
func (d *Decoder) Batch(limit int) ([]schema.Event, []httpapi.FieldError) {
	d.told = 0
	events, errs := d.result(d.whole(d.batch(d.blanks(0), limit)))
	if whole := slices.DeleteFunc(slices.Clone(errs), hasIndex); len(whole) > 0 {
		return nil, whole
	}
	return events, errs
}

func hasIndex(e httpapi.FieldError) bool { return e.Index != nil }

// Line reads one more line, without its end, which must be an event: number is its place, from 1, and the index of its
// errors. It reports whether it was one. The line must live as long as the events, which [Decoder.Lines] returns.
func (d *Decoder) Line(line []byte, number int) bool {
	d.body, d.line, d.told = line, number, 0
	errors := len(d.errs)
	d.index = number
	if end := d.blanks(0); end == len(line) {
		d.fail("", "the line is empty")
	} else if fatal := d.whole(d.event(end)); fatal != nil {
		fatal.Index = d.indexed()
		d.errs = append(d.errs[:errors], *fatal)
	}
	return len(d.errs) == errors
}

// Refuse collects what is wrong with a line that was not read.
func (d *Decoder) Refuse(number int, problem string) {
	d.index, d.told = number, 0
	d.fail("", problem)
}

// Lines returns the events of the lines read since [Decoder.Reset], and what is wrong with the others.
func (d *Decoder) Lines() ([]schema.Event, []httpapi.FieldError) { return d.events, d.errs }

// result is what became of a body: fatal says that it could not be read to its end.
func (d *Decoder) result(fatal *httpapi.FieldError) ([]schema.Event, []httpapi.FieldError) {
	switch {
	case fatal != nil:
		return nil, []httpapi.FieldError{*fatal}
	case d.errs != nil:
		return nil, d.errs
	}
	return d.events, nil
}

// whole makes sure that the body's value, which ends at end, is all there is in it.
func (d *Decoder) whole(end int) *httpapi.FieldError {
	if end < 0 {
		return d.explain()
	}
	if end = d.blanks(end); end < len(d.body) {
		return &httpapi.FieldError{Message: d.position(end) + "unexpected data after the JSON object"}
	}
	return nil
}

// From here on a method that reads gets the index of what it is to read and returns the index behind it, or broken: then
// the bytes are not JSON, and nothing more is read. What is JSON and no event is collected in errs, so that a client
// learns of all its mistakes at once.
const broken = -1

// batch reads the value at i, which should be a batch.
func (d *Decoder) batch(i, limit int) int {
	if i == len(d.body) || d.body[i] != '{' {
		d.fail("", "expected a JSON object")
		return d.skip(i, 1)
	}
	sent := false
	mark := d.names.mark()
	i = d.members(i+1, func(name []byte, at int) (int, bool) {
		if string(name) != batchFields[0] {
			return at, false
		}
		if sent {
			return broken, true
		}
		sent = true
		return d.array(at, limit), true
	})
	d.names.release(mark)
	if i != broken && !sent {
		d.fail("events", "is required")
	}
	return i
}

// array reads the batch's array. Beyond limit it only counts.
func (d *Decoder) array(i, limit int) int {
	if i == len(d.body) || d.body[i] != '[' {
		d.fail("events", "must be an array")
		return d.skip(i, 2)
	}
	i = d.blanks(i + 1)
	n := 0
	for more := i < len(d.body) && d.body[i] != ']'; more; n++ {
		if n < limit {
			i = d.element(i, n)
		} else {
			i = d.skip(i, 3)
		}
		if i == broken {
			return broken
		}
		if i, more = d.comma(i); i == broken {
			return broken
		}
	}
	if n == 0 || n > limit {
		d.fail("events", fmt.Sprintf("must hold 1 to %d events, not %d", limit, n))
	}
	return d.byte(i, ']')
}

// element reads event n of a batch.
func (d *Decoder) element(i, n int) int {
	d.index, d.told = n, 0
	i = d.event(i)
	if i != broken { // what is broken in the event is told with its index
		d.index, d.told = none, 0
	}
	return i
}

// fail collects what is wrong with a field of the event at hand.
func (d *Decoder) fail(field, problem string) {
	if d.told++; d.told <= maxEventErrors {
		d.errs = append(d.errs, httpapi.FieldError{Field: field, Message: problem, Index: d.indexed()})
	}
}

// indexed is a copy of index for an error.
func (d *Decoder) indexed() *int {
	if d.index == none {
		return nil
	}
	index := d.index
	return &index
}

// position tells a byte of the body as people count: lines and bytes in the line, from 1.
func (d *Decoder) position(at int) string {
	before := d.body[:min(at, len(d.body))]
	line := d.line + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column) + ": "
}
