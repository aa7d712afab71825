package schema

import (
	"encoding/json"
	"errors"
	"fmt"
)

// AuditRecord is a line of the audit: what somebody did to an API key, or was refused. Key: the tenant. Before a change
// is written there is a line whose outcome is begun, so that no change goes without one, and after it another.
type AuditRecord struct {
	Tenant    Tenant       `json:"tenant,omitempty"`
	At        Millis       `json:"at"`
	Action    string       `json:"action"`
	Outcome   AuditOutcome `json:"outcome"`
	Target    string       `json:"target"`
	Version   int64        `json:"version,omitempty"`
	By        string       `json:"by,omitempty"`
	Remote    string       `json:"remote,omitempty"`
	RequestID string       `json:"request_id,omitempty"`
	Changes   string       `json:"changes,omitempty"`
}

// AuditOutcome is what became of it.
type AuditOutcome string

// The outcomes. Begun is followed by one of done, conflict and unknown, unless the node died in between.
const (
	AuditBegun    AuditOutcome = "begun"
	AuditDone     AuditOutcome = "done"
	AuditConflict AuditOutcome = "conflict" // somebody else was first: nothing was done
	AuditUnknown  AuditOutcome = "unknown"  // the log did not answer: it may be done
	AuditRefused  AuditOutcome = "refused"
)

// The actions. A request is a call of the admin API that was refused.
const (
	AuditCreate  = "create"
	AuditChange  = "change"
	AuditRotate  = "rotate"
	AuditRevoke  = "revoke"
	AuditRequest = "request"
)

// AuditAPIKey is the line about a version of an API key.
func AuditAPIKey(action string, r APIKeyRecord, at Millis) AuditRecord {
	shown := r
	shown.HMAC, shown.PreviousHMAC, shown.Secret = "", "", ""
	changes, err := json.Marshal(struct {
		APIKeyRecord
		HMAC string `json:"hmac,omitempty"`
	}{APIKeyRecord: shown})
	if err != nil {
		panic(fmt.Sprintf("BUG: encode an API key: %v", err))
	}
	return AuditRecord{Tenant: r.Tenant, At: at, Action: action, Target: r.ID, Version: r.Version, Changes: string(changes)}
}

var errNoAudit = errors.New("action or outcome is missing")

// DecodeAudit reads a record of [TopicAudit].
func DecodeAudit(value []byte) (AuditRecord, error) {
	r, err := DecodeControl[AuditRecord](value)
	if err == nil && (r.Action == "" || r.Outcome == "") {
		err = fmt.Errorf("decode audit: %w", errNoAudit)
	}
	return r, err
}
