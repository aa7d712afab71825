package schema

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// RuleCounts is how often one version of a rule has held, and failed, for the events of one partition. Its numbers are the
// whole so far, so that reading them twice does no harm, and the last ones in log order are all that one needs.
type RuleCounts struct {
	Tenant    Tenant
	RuleID    string
	Version   int64
	Hits      int64     // in live mode, those that raised an alert included
	Shadow    int64     // hits in shadow mode
	Errors    int64     // how often it failed
	LastError RuleError // the newest; of Errors 0: none
}

// Sum is everything that is counted.
func (c *RuleCounts) Sum() int64 { return c.Hits + c.Shadow + c.Errors }

// RuleVersion names a version of a rule.
type RuleVersion struct {
	Tenant  Tenant
	RuleID  string
	Version int64
}

// Of names the version whose counts they are.
func (c *RuleCounts) Of() RuleVersion { return RuleVersion{c.Tenant, c.RuleID, c.Version} }

// RuleError is a rule that failed for an event.
type RuleError struct {
	EventID int64
	At      Millis // the event's created_at
	Message string
}

const (
	countsTenant    protowire.Number = 1
	countsRuleID    protowire.Number = 2
	countsVersion   protowire.Number = 3
	countsHits      protowire.Number = 4
	countsShadow    protowire.Number = 5
	countsErrors    protowire.Number = 6
	countsLastError protowire.Number = 7

	errorEventID protowire.Number = 1
	errorAt      protowire.Number = 2
	errorMessage protowire.Number = 3
)

func (c *RuleCounts) append(b []byte) []byte {
	b = appendString(b, countsTenant, c.Tenant)
	b = appendString(b, countsRuleID, c.RuleID)
	b = appendUint(b, countsVersion, uint64(c.Version))
	b = appendUint(b, countsHits, uint64(c.Hits))
	b = appendUint(b, countsShadow, uint64(c.Shadow))
	b = appendUint(b, countsErrors, uint64(c.Errors))
	if c.LastError != (RuleError{}) {
		b = appendMessage(b, countsLastError, c.LastError.append)
	}
	return b
}

func (e *RuleError) append(b []byte) []byte {
	b = appendUint(b, errorEventID, uint64(e.EventID))
	b = appendUint(b, errorAt, uint64(e.At))
	return appendString(b, errorMessage, e.Message)
}

func decodeRuleCounts(b []byte) (RuleCounts, error) {
	var c RuleCounts
	var inner error
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case countsTenant:
			c.Tenant = Tenant(f.bytes)
		case countsRuleID:
			c.RuleID = string(f.bytes)
		case countsVersion:
			c.Version = int64(f.uint)
		case countsHits:
			c.Hits = int64(f.uint)
		case countsShadow:
			c.Shadow = int64(f.uint)
		case countsErrors:
			c.Errors = int64(f.uint)
		case countsLastError:
			c.LastError, inner = decodeRuleError(f.bytes)
		}
	})
	return c, errors.Join(err, inner)
}

func decodeRuleError(b []byte) (RuleError, error) {
	var e RuleError
	err := eachField(b, func(num protowire.Number, f field) {
		switch num {
		case errorEventID:
			e.EventID = int64(f.uint)
		case errorAt:
			e.At = Millis(f.uint)
		case errorMessage:
			e.Message = string(f.bytes)
		}
	})
	return e, err
}
