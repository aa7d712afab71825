package schema

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Tenant names a company. A key, a rule, an alert belongs to exactly one.
type Tenant string

var tenantPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ParseTenant checks a tenant's name: 1 to 63 of a-z, 0-9 and -, not starting with -.
func ParseTenant(s string) (Tenant, error) {
	if !tenantPattern.MatchString(s) {
		return "", fmt.Errorf("parse tenant %q: must be 1 to 63 of a-z, 0-9 and '-', starting with a letter or a digit", s)
	}
	return Tenant(s), nil
}

// Severity says how bad an event or an alert is.
type Severity uint8

// The severities, in rising order. The zero value is none of them.
const (
	Nominal  Severity = 1
	Warning  Severity = 2
	Critical Severity = 3
)

// Severities are the names of the severities, in rising order.
var Severities = [...]string{"nominal", "warning", "critical"}

// ParseSeverity reads a severity's name.
func ParseSeverity(s string) (Severity, bool) {
	switch s {
	case "nominal":
		return Nominal, true
	case "warning":
		return Warning, true
	case "critical":
		return Critical, true
	}
	return 0, false
}

// String returns the severity's name.
func (s Severity) String() string {
	if s < Nominal || s > Critical {
		return fmt.Sprintf("severity(%d)", uint8(s))
	}
	return Severities[s-1]
}

// BaseScore is the score of an event of this severity before any rule holds: 0, 10 or 30.
func (s Severity) BaseScore() int {
	switch s {
	case Warning:
		return 10
	case Critical:
		return 30
	default:
		return 0
	}
}

// MaxScore is the largest score of an event.
const MaxScore = 100

// Event is one act on one key of one tenant, as it stands in the log. Tenant and KeyID travel in the record's key,
// CreatedAt in its timestamp, the rest in its value.
type Event struct {
	Tenant    Tenant
	KeyID     string
	Type      string
	Severity  Severity
	SourceIP  string // canonical text of the address; "" where none was sent
	Actor     string // "" where none was sent
	Details   []byte // the JSON object byte for byte as it was sent; empty where none was sent
	EventID   string // the client's own, or a UUIDv7 that the server made
	OwnID     bool   // EventID is the client's own, so a second event with it is a duplicate
	CreatedAt Millis
	// RulesRev is the offset of the rules topic up to which the ingest node that accepted the event had read.
	// It fixes which rule versions judge the event: see package processor.
	RulesRev int64
}

// MaxRecordKey is the most bytes that a record's key has: those of the longest tenant and key_id, and room to grow.
const MaxRecordKey = 1024

// EmptyDetails is what an event without details shows.
const EmptyDetails = "{}"

// The numbers of the fields in events.proto.
const (
	eventType     protowire.Number = 1
	eventSeverity protowire.Number = 2
	eventSourceIP protowire.Number = 3
	eventActor    protowire.Number = 4
	eventDetails  protowire.Number = 5
	eventEventID  protowire.Number = 6
	eventOwnID    protowire.Number = 7
	eventRulesRev protowire.Number = 8
)

// AppendValue appends the value of the event's log record to b: message Event of events.proto.
func (e *Event) AppendValue(b []byte) []byte {
	b = appendString(b, eventType, e.Type)
	b = appendUint(b, eventSeverity, uint64(e.Severity))
	b = appendString(b, eventSourceIP, e.SourceIP)
	b = appendString(b, eventActor, e.Actor)
	b = appendBytes(b, eventDetails, e.Details)
	b = appendString(b, eventEventID, e.EventID)
	b = appendBool(b, eventOwnID, e.OwnID)
	return appendUint(b, eventRulesRev, uint64(e.RulesRev))
}

// DecodeEvent reads an event from its log record. The event keeps no reference to key or value.
func DecodeEvent(key, value []byte, createdAt Millis) (Event, error) {
	var e Event
	err := e.Decode(bytes.Clone(key), bytes.Clone(value), createdAt)
	return e, err
}

// Decode reads an event from its log record into e. Its strings and details alias key and value: they are valid as long as
// those do not change, and what outlives them must be cloned.
func (e *Event) Decode(key, value []byte, createdAt Millis) error {
	separator := bytes.IndexByte(key, 0)
	if separator < 0 {
		return errNoSeparator(key)
	}
	if len(key) > MaxRecordKey {
		return fmt.Errorf("decode event: its key has %d bytes, at most %d are a tenant's and a key_id's", len(key), MaxRecordKey)
	}
	*e = Event{Tenant: Tenant(alias(key[:separator])), KeyID: alias(key[separator+1:]), CreatedAt: createdAt}
	for len(value) > 0 {
		num, typ, n := protowire.ConsumeTag(value)
		if n < 0 {
			return fmt.Errorf("decode event: read tag: %w", protowire.ParseError(n))
		}
		value = value[n:]
		switch typ {
		case protowire.VarintType:
			v, m := protowire.ConsumeVarint(value)
			n = m
			switch num {
			case eventSeverity:
				e.Severity = Severity(v)
			case eventOwnID:
				e.OwnID = v != 0
			case eventRulesRev:
				e.RulesRev = int64(v)
			}
		case protowire.BytesType:
			v, m := protowire.ConsumeBytes(value)
			n = m
			switch num {
			case eventType:
				e.Type = alias(v)
			case eventSourceIP:
				e.SourceIP = alias(v)
			case eventActor:
				e.Actor = alias(v)
			case eventDetails:
				e.Details = v
			case eventEventID:
				e.EventID = alias(v)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, value)
		}
		if n < 0 {
			return fmt.Errorf("decode event: read field %d: %w", num, protowire.ParseError(n))
		}
		value = value[n:]
	}
	if e.Type == "" || e.Severity < Nominal || e.Severity > Critical || e.KeyID == "" {
		return fmt.Errorf("decode event: %w", errIncomplete)
	}
	return nil
}

// alias is b as a string that shares its bytes.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

var errIncomplete = errors.New("key_id, event_type or severity is missing")
