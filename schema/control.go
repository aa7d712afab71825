package schema

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The values of control records are JSON, so that kcat shows them. Each names the version that it makes; it replaces
// version-1. In log order a record whose version is not the next one is stale, and everyone ignores it. Alert actions
// alone have no versions: they are appended, and all of them hold.

// LogRecord fixes the log's incarnation. Key: "log".
type LogRecord struct {
	Version    int64 `json:"version"`
	Partitions int32 `json:"partitions"` // of events, verdicts and state, for the life of the log
	Base       int64 `json:"base"`       // added to offsets in ids: above every offset of earlier incarnations
	// Topic is the identity of the topic of events, in hex, as its cluster gave it: made anew, it has another one. "" until
	// somebody has noted it, and where brokers give none.
	Topic string `json:"topic,omitempty"`
}

// RuleRecord is one immutable version of a rule, or its end. Key: [RecordKey](tenant, id).
type RuleRecord struct {
	Tenant  Tenant          `json:"tenant"`
	ID      string          `json:"id"`
	Version int64           `json:"version"`
	Deleted bool            `json:"deleted,omitempty"`
	Rule    json.RawMessage `json:"rule,omitempty"` // as package rules writes it; absent when deleted
	By      string          `json:"by"`             // the API key's id, or the command, that made the version
	At      Millis          `json:"at"`
}

// KeyRecord is one version of what its owner says of a key, which may have no event yet. Key: [RecordKey](tenant, key_id).
type KeyRecord struct {
	Tenant         Tenant   `json:"tenant"`
	KeyID          string   `json:"key_id"`
	Version        int64    `json:"version"`
	Name           string   `json:"name"`
	KeyType        string   `json:"key_type"`
	Status         string   `json:"status"`
	Tags           []string `json:"tags,omitempty"`
	RotationPeriod string   `json:"rotation_period,omitempty"` // a duration such as 90d; "" = none
	By             string   `json:"by"`                        // the API key's id
	At             Millis   `json:"at"`
}

// MaxDescribed is how many keys a tenant may describe: every query node holds what was said of them in memory.
const MaxDescribed = 100_000

// What every key is until its owner says otherwise; its name is then its key_id.
const (
	KeyTypeUnknown  = "unknown"
	KeyStatusActive = "active"
)

var errNoKey = errors.New("tenant, key_id or name is missing, or the record's key is another key's")

// DecodeKeyRecord reads a record of [TopicKeys]. Whoever cannot decode one passes over it.
func DecodeKeyRecord(key, value []byte) (KeyRecord, error) {
	r, err := DecodeControl[KeyRecord](value)
	if err != nil {
		return r, err
	}
	if r.Tenant == "" || r.KeyID == "" || r.Name == "" || string(key) != string(RecordKey(r.Tenant, r.KeyID)) {
		return r, fmt.Errorf("decode key record: %w", errNoKey)
	}
	return r, nil
}

// APIKeyStatus says whether a key opens anything.
type APIKeyStatus string

// The states of an API key. Revoked is final.
const (
	APIKeyActive   APIKeyStatus = "active"
	APIKeyInactive APIKeyStatus = "inactive"
	APIKeyRevoked  APIKeyStatus = "revoked"
)

// APIKeyRecord is one version of an API key. Key: its ID. The key itself is nowhere: only its HMAC-SHA-256.
type APIKeyRecord struct {
	ID        string       `json:"id"`
	Version   int64        `json:"version"`
	Tenant    Tenant       `json:"tenant"`
	Name      string       `json:"name"`
	HMAC      string       `json:"hmac"`             // hexadecimal
	Secret    string       `json:"secret,omitempty"` // the fingerprint of the secret that HMAC was made with; "" in old records
	RateLimit int          `json:"rate_limit"`       // requests in any 60 seconds; 0 = no limit
	Scopes    []string     `json:"scopes"`
	Status    APIKeyStatus `json:"status"`
	CreatedAt Millis       `json:"created_at"`
	ExpiresAt Millis       `json:"expires_at,omitempty"` // 0 = never
	// PreviousHMAC is of the key that was in force before the last rotation; it opens the same until PreviousUntil.
	PreviousHMAC  string `json:"previous_hmac,omitempty"`
	PreviousUntil Millis `json:"previous_until,omitempty"`
}

// UsesRecord says when API keys were last used, in milliseconds, by their ids: of all records the latest use counts. Key: none.
type UsesRecord struct {
	Uses map[string]Millis `json:"uses"`
}

// AlertAction is what a person does with an alert.
type AlertAction string

// The actions. Each is recorded also where it changes nothing.
const (
	AlertAck     AlertAction = "ack"     // somebody looks after it
	AlertResolve AlertAction = "resolve" // nothing is left to do
	AlertReopen  AlertAction = "reopen"  // as if nobody had done anything
)

// AlertState is where people are with an alert: the last action in log order decides.
type AlertState string

// The states of an alert.
const (
	AlertOpen     AlertState = "open" // the first state of every alert
	AlertAcked    AlertState = "acked"
	AlertResolved AlertState = "resolved"
)

// State is the state of an alert after the action, "" for what is no action.
func (a AlertAction) State() AlertState {
	switch a {
	case AlertAck:
		return AlertAcked
	case AlertResolve:
		return AlertResolved
	case AlertReopen:
		return AlertOpen
	default:
		return ""
	}
}

// AlertActionRecord is one action on one alert. Key: [RecordKey](tenant, alert id). It never changes evaluation.
type AlertActionRecord struct {
	Tenant   Tenant      `json:"tenant"`
	AlertID  string      `json:"alert_id"`
	RaisedAt Millis      `json:"raised_at"` // of the alert
	Action   AlertAction `json:"action"`
	By       string      `json:"by"` // the API key's id
	Comment  string      `json:"comment,omitempty"`
	At       Millis      `json:"at"`
}

var errNoAction = errors.New("tenant, alert or action is missing, or the key is another alert's")

// DecodeAlertAction reads a record of [TopicAlertActions]. Whoever cannot decode one passes over it.
func DecodeAlertAction(key, value []byte) (AlertActionRecord, error) {
	r, err := DecodeControl[AlertActionRecord](value)
	if err != nil {
		return r, err
	}
	if r.Tenant == "" || r.AlertID == "" || r.Action.State() == "" || string(key) != string(RecordKey(r.Tenant, r.AlertID)) {
		return r, fmt.Errorf("decode alert action: %w", errNoAction)
	}
	return r, nil
}

// DecodeControl reads a control record's value into *T and names what failed.
func DecodeControl[T any](value []byte) (T, error) {
	var r T
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("decode %T: %w", r, err)
	}
	return r, nil
}

// SignupRecord is one use of a link of a sign-up; there is a second only where the first did not come to its end. Key: its ID.
type SignupRecord struct {
	ID      string `json:"id"` // of the link
	Version int64  `json:"version"`
	Claim   string `json:"claim"`   // of the request that used it
	Tenant  Tenant `json:"tenant"`  // that it makes
	Address string `json:"address"` // the HMAC of the e-mail address
	Company string `json:"company"`
	At      Millis `json:"at"`
}
