package schema

import (
	"encoding/json"
	"errors"
	"fmt"
)

// TargetType says how a webhook reaches people.
type TargetType string

// The types of targets.
const (
	TargetWebhook TargetType = "webhook" // an HTTP endpoint, by the Standard Webhooks specification
	TargetSlack   TargetType = "slack"   // an incoming webhook of Slack
	TargetEmail   TargetType = "email"
)

// WebhookRecord is one version of a webhook: where a tenant's alerts are sent, and which. Key: [RecordKey](tenant, id).
type WebhookRecord struct {
	Tenant  Tenant     `json:"tenant"`
	ID      string     `json:"id"`
	Version int64      `json:"version"`
	Deleted bool       `json:"deleted,omitempty"`
	Name    string     `json:"name,omitempty"`
	Type    TargetType `json:"type,omitempty"`
	Shown   string     `json:"shown,omitempty"`  // the URL without what may be secret in it
	Sealed  string     `json:"sealed,omitempty"` // package notify's: the URL and the signing secrets
	To      []string   `json:"to,omitempty"`     // of an e-mail

	// An alert passes when each list is empty or names it; of its key's tags one is enough.
	Rules      []string `json:"rules,omitempty"`
	Severities []string `json:"severities,omitempty"`
	Tags       []string `json:"tags,omitempty"`

	Burst         int    `json:"burst"`          // alerts in any 60 seconds that have a message each; the others are gathered
	DigestSeconds int    `json:"digest_seconds"` // how long alerts are gathered
	Disabled      string `json:"disabled,omitempty"`
	PreviousUntil Millis `json:"previous_until,omitempty"` // how long the secret before the last rotation signs, too
	CreatedAt     Millis `json:"created_at,omitempty"`
	By            string `json:"by"` // the API key's id, or "notifier"
	At            Millis `json:"at"`
}

// Why a webhook is disabled.
const (
	DisabledByUser  = "user"
	DisabledGone    = "gone"    // the endpoint answered 410
	DisabledFailing = "failing" // a message went through the whole retry schedule, and none was delivered meanwhile
)

// SilenceRecord is one version of a silence: alerts raised from Since until Until that it matches are sent to nobody.
// Key: [RecordKey](tenant, id).
type SilenceRecord struct {
	Tenant     Tenant   `json:"tenant"`
	ID         string   `json:"id"`
	Version    int64    `json:"version"`
	Reason     string   `json:"reason"`
	Since      Millis   `json:"since"`
	Until      Millis   `json:"until"`
	Rules      []string `json:"rules,omitempty"`
	Severities []string `json:"severities,omitempty"`
	KeyIDs     []string `json:"key_ids,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	CreatedBy  string   `json:"created_by"`
	By         string   `json:"by"` // the API key's id that made this version
	At         Millis   `json:"at"`
}

// NoticeKind says what a notice is about.
type NoticeKind string

// The kinds of notices.
const (
	NoticeAlert  NoticeKind = "alert"  // an alert was raised
	NoticeTest   NoticeKind = "test"   // somebody tries a webhook out
	NoticeResend NoticeKind = "resend" // somebody wants a delivery again
)

// NoticeRecord is something that the notifier is to tell. Key: the tenant, so that all of a tenant's are in one order.
type NoticeRecord struct {
	Kind   NoticeKind `json:"kind"`
	Tenant Tenant     `json:"tenant"`

	// Of an alert: the event that raised it, and which of its alerts it is. In a partition of the events they rise, so a
	// reader knows a repeated notice.
	EventID int64           `json:"event_id,omitempty"`
	Index   int             `json:"index,omitempty"`
	Alert   json.RawMessage `json:"alert,omitempty"` // as the API shows it
	Event   json.RawMessage `json:"event,omitempty"` // some members of it

	// Of the others.
	ID          string `json:"id,omitempty"`
	WebhookID   string `json:"webhook_id,omitempty"`
	DeliveryID  string `json:"delivery_id,omitempty"`
	WebhooksRev int64  `json:"webhooks_rev,omitempty"` // how far the webhooks' topic must be read
	By          string `json:"by,omitempty"`
}

var errNoOwner = errors.New("tenant or id is missing, or the record's key is another's")

// DecodeWebhook reads a record of [TopicWebhooks].
func DecodeWebhook(key, value []byte) (WebhookRecord, error) {
	r, err := DecodeControl[WebhookRecord](value)
	if err == nil && (r.Tenant == "" || r.ID == "" || string(key) != string(RecordKey(r.Tenant, r.ID))) {
		err = fmt.Errorf("decode webhook record: %w", errNoOwner)
	}
	return r, err
}

// DecodeSilence reads a record of [TopicSilences].
func DecodeSilence(key, value []byte) (SilenceRecord, error) {
	r, err := DecodeControl[SilenceRecord](value)
	if err == nil && (r.Tenant == "" || r.ID == "" || string(key) != string(RecordKey(r.Tenant, r.ID))) {
		err = fmt.Errorf("decode silence record: %w", errNoOwner)
	}
	return r, err
}
