package decode

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

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
)

var (
	eventFields = []string{"key_id", "event_type", "severity", "source_ip", "actor", "details", "event_id"}
	batchFields = []string{"events"}
)

// fieldOf returns the index of a member's name in eventFields, or -1.
func fieldOf(name []byte) int {
	switch string(name) {
	case "key_id":
		return fieldKeyID
	case "event_type":
		return fieldType
	case "severity":
		return fieldSeverity
	case "source_ip":
		return fieldSourceIP
	case "actor":
		return fieldActor
	case "details":
		return fieldDetails
	case "event_id":
		return fieldEventID
	}
	return -1
}

// event reads the value at i, which should be an event, and appends it to events.
func (d *Decoder) event(i int) int {
	if i == len(d.body) || d.body[i] != '{' {
		d.fail("", "expected a JSON object")
		return d.skip(i, 3)
	}
	d.events = append(d.events, schema.Event{})
	e := &d.events[len(d.events)-1]
	seen := 0 // a bit for each field
	mark := d.names.mark()
	i = d.members(i+1, func(name []byte, at int) (int, bool) {
		field := fieldOf(name)
		if field < 0 {
			return at, false
		}
		if seen&(1<<field) != 0 {
			return broken, true
		}
		seen |= 1 << field
		return d.set(e, field, at), true
	})
	d.names.release(mark)
	const all = 1<<requiredFields - 1
	if i != broken && seen&all != all {
		for field, name := range eventFields[:requiredFields] {
			if seen&(1<<field) == 0 {
				d.fail(name, "is required")
			}
		}
	}
	return i
}

// members reads the members of an object whose bracket stands before i, and its closing bracket. known reads the value at
// an index and returns where it ends, or says that the schema has no such member: then it is collected as an error.
func (d *Decoder) members(i int, known func(name []byte, at int) (end int, ok bool)) int {
	i = d.blanks(i)
	for more := i < len(d.body) && d.body[i] != '}'; more; {
		name, at := d.name(i)
		if at == broken {
			return broken
		}
		end, ok := known(name, at)
		if !ok {
			end = d.unknown(name, at)
		}
		if end == broken {
			return broken
		}
		if i, more = d.comma(end); i == broken {
			return broken
		}
	}
	return d.byte(i, '}')
}

// unknown passes over the value of a member that the schema does not know, and collects the error.
func (d *Decoder) unknown(name []byte, at int) int {
	if d.told < maxEventErrors {
		if !d.names.add(text(name)) {
			return broken
		}
		known := eventFields
		if d.index == none && len(d.events) == 0 {
			known = batchFields
		}
		problem := "unknown field"
		if near, ok := httpapi.Nearest(string(name), known); ok {
			problem += ", did you mean " + strconv.Quote(near) + "?"
		}
		d.fail(httpapi.Printable(string(name)), problem)
	}
	return d.skip(at, 2)
}

// set reads the value at i, checks it and puts it into the event.
func (d *Decoder) set(e *schema.Event, field, i int) int {
	if i == len(d.body) {
		return broken
	}
	switch c := d.body[i]; {
	case c == 'n' && field >= requiredFields:
		return d.literal(i, "null")
	case field == fieldDetails:
		end := d.skip(i, 2)
		if end != broken {
			e.Details = d.details(d.body[i:end])
		}
		return end
	case c != '"':
		d.fail(eventFields[field], "must be a string")
		return d.skip(i, 2)
	}
	s, end := d.str(i)
	if end == broken {
		return broken
	}
	if strings.IndexByte(s, 0) >= 0 {
		// In the log a zero byte separates the tenant from the key_id, and much of what reads our data ends a string there.
		d.fail(eventFields[field], "must not contain U+0000")
		return end
	}
	switch field {
	case fieldKeyID:
		e.KeyID = d.short(field, s)
	case fieldType:
		e.Type = d.short(field, s)
	case fieldActor:
		e.Actor = d.short(field, s)
	case fieldSeverity:
		e.Severity = d.severity(s)
	case fieldSourceIP:
		e.SourceIP = d.address(s)
	case fieldEventID:
		e.EventID, e.OwnID = d.eventID(s), true
	}
	return end
}

// short takes a string of 1 to maxString bytes.
func (d *Decoder) short(field int, s string) string {
	if len(s) == 0 || len(s) > maxString {
		d.fail(eventFields[field], fmt.Sprintf("must be 1 to %d bytes long, not %d", maxString, len(s)))
	}
	return s
}

func (d *Decoder) eventID(s string) string {
	if n := len(s); n == 0 || n > MaxEventID {
		if n = utf8.RuneCountInString(s); n == 0 || n > MaxEventID {
			d.fail("event_id", fmt.Sprintf("must be 1 to %d characters long, not %d", MaxEventID, n))
		}
	}
	return s
}

func (d *Decoder) severity(s string) schema.Severity {
	severity, known := schema.ParseSeverity(s)
	if !known {
		d.fail("severity", "must be nominal, warning or critical")
	}
	return severity
}

// address takes an IP address and returns its canonical text, an IPv4-mapped one as IPv4.
func (d *Decoder) address(s string) string {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		d.fail("source_ip", "must be an IPv4 or IPv6 address")
		return ""
	case addr.Zone() != "":
		d.fail("source_ip", "must be an address without a zone")
		return ""
	case addr.Is4(): // has one spelling only
		return s
	}
	start := len(d.arena)
	d.arena = addr.Unmap().AppendTo(d.arena)
	if canonical := d.arena[start:]; string(canonical) != s {
		return text(canonical)
	}
	d.arena = d.arena[:start]
	return s
}

// details takes an object as it stands.
func (d *Decoder) details(value []byte) []byte {
	switch {
	case value[0] != '{':
		d.fail("details", "must be an object")
	case len(value) > maxDetails:
		d.fail("details", fmt.Sprintf("must be at most %d bytes long, not %d", maxDetails, len(value)))
	case d.deep > maxDetailsDepth:
		d.fail("details", fmt.Sprintf("must be at most %d levels deep", maxDetailsDepth))
	default:
		return value
	}
	return nil
}

// text is b as a string that shares its bytes.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
