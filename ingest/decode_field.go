package ingest

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

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
