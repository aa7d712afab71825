package answer

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/schema"
)

// Event is an event with what is known of its verdict.
type Event struct {
	ID        int64
	Event     *schema.Event
	Alerts    int  // that the event raised, as far as is known
	Score     int  // 0 to 100
	Evaluated bool // Alerts and Score are the verdict's: final
	Duplicate bool // the client has sent it before: all of this is the first one's
}

// AppendEvent appends the event as a JSON object to b. It keeps no reference to the event.
func AppendEvent(b []byte, e Event) []byte {
	b = append(b, '{')
	b = AppendEventMembers(b, e)
	return append(b, '}')
}

// AppendEvents appends the events as the elements of a JSON array. Most of a request's have the same time.
func AppendEvents(b []byte, events []Event) []byte {
	var room [len(schema.MillisLayout) + 2]byte
	var at []byte
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		if i == 0 || events[i].Event.CreatedAt != events[i-1].Event.CreatedAt {
			at = AppendTime(room[:0], events[i].Event.CreatedAt)
		}
		b = appendMembers(append(b, '{'), &events[i], at)
		b = append(b, '}')
	}
	return b
}

// AppendEventMembers appends the members of [AppendEvent] without the braces, for an answer that puts others before
// or after them.
func AppendEventMembers(b []byte, e Event) []byte {
	var room [len(schema.MillisLayout) + 2]byte
	return appendMembers(b, &e, AppendTime(room[:0], e.Event.CreatedAt))
}

func appendMembers(b []byte, e *Event, createdAt []byte) []byte {
	b = append(b, `"id":`...)
	b = strconv.AppendInt(b, e.ID, 10)
	b = append(b, `,"key_id":`...)
	b = AppendString(b, e.Event.KeyID)
	b = append(b, `,"event_type":`...)
	b = AppendString(b, e.Event.Type)
	b = append(b, `,"severity":"`...)
	b = append(b, e.Event.Severity.String()...)
	b = append(b, `","source_ip":`...)
	b = appendStringOrNull(b, e.Event.SourceIP)
	b = append(b, `,"actor":`...)
	b = appendStringOrNull(b, e.Event.Actor)
	b = append(b, `,"details":`...)
	b = appendDetails(b, e.Event.Details)
	b = append(b, `,"created_at":`...)
	b = append(b, createdAt...)
	b = append(b, `,"alerts_triggered":`...)
	b = strconv.AppendInt(b, int64(e.Alerts), 10)
	b = append(b, `,"event_id":`...)
	b = AppendString(b, e.Event.EventID)
	b = append(b, `,"score":`...)
	b = strconv.AppendInt(b, int64(e.Score), 10)
	b = append(b, `,"evaluated":`...)
	b = strconv.AppendBool(b, e.Evaluated)
	if e.Duplicate {
		b = append(b, `,"duplicate":true`...)
	}
	return b
}

func appendDetails(b, details []byte) []byte {
	if len(details) == 0 {
		return append(b, schema.EmptyDetails...)
	}
	return append(b, details...)
}

func appendStringOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return AppendString(b, s)
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD: a list with one odd character
// reads better than no list.
func AppendString(b []byte, s string) []byte {
	if isPlain(s) { // nearly always
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, _ := jsontext.AppendQuote(b, s) // its error says only that it replaced such bytes
	return quoted
}

// isPlain reports whether s stands in JSON as it is. It looks at eight bytes at once: odd gets the high bit of each byte that
// is below ' ', a quote, a backslash, or beyond ASCII (and, after such a byte, perhaps of more).
func isPlain(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, backslash := w^ones*'"', w^ones*'\\'
		odd := w | (w - ones*' ') | (quote - ones) | (backslash - ones)
		if odd&highs != 0 {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// AppendTime appends m as a JSON string in [schema.MillisLayout].
func AppendTime(b []byte, m schema.Millis) []byte {
	b = append(b, '"')
	b = m.Append(b)
	return append(b, '"')
}
