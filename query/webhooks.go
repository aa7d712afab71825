package query

import (
	"context"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/internal/mail"
	"keypulse/notify"
	"keypulse/schema"
)

const (
	// maxWebhooks is how many a tenant may have: what becomes of an alert is one record of the log.
	maxWebhooks = 20
	maxTo       = 10
	maxRules    = 200
)

// codeWebhookLimit is the `code` of a failure: see maxWebhooks.
const codeWebhookLimit = "webhook_limit"

var errNoWebhook = httpapi.NotFound("There is no webhook with this id.")

// shownWebhook is a webhook as clients see it.
type shownWebhook struct {
	ID             string            `json:"id"`
	Version        int64             `json:"version"`
	Name           string            `json:"name"`
	Type           schema.TargetType `json:"type"`
	URL            *string           `json:"url"`
	To             []string          `json:"to"`
	Rules          []string          `json:"rules"`
	Severities     []string          `json:"severities"`
	Tags           []string          `json:"tags"`
	Burst          int               `json:"burst"`
	DigestSeconds  int               `json:"digest_seconds"`
	Enabled        bool              `json:"enabled"`
	DisabledReason *string           `json:"disabled_reason"`
	PreviousUntil  *schema.Millis    `json:"previous_until"`
	CreatedAt      schema.Millis     `json:"created_at"`
	UpdatedAt      schema.Millis     `json:"updated_at"`
	By             string            `json:"by"`
}

func showWebhook(r *schema.WebhookRecord) shownWebhook {
	w := shownWebhook{
		ID: r.ID, Version: r.Version, Name: r.Name, Type: r.Type, To: orEmpty(r.To), Rules: orEmpty(r.Rules), Severities: orEmpty(r.Severities),
		Tags: orEmpty(r.Tags), Burst: r.Burst, DigestSeconds: r.DigestSeconds, Enabled: r.Disabled == "",
		PreviousUntil: orNull(r.PreviousUntil), CreatedAt: r.CreatedAt, UpdatedAt: r.At, By: r.By,
	}
	if r.Shown != "" {
		w.URL = &r.Shown
	}
	if r.Disabled != "" {
		w.DisabledReason = &r.Disabled
	}
	return w
}

// answerWebhook shows a webhook, with its signing secret where that was just made.
func answerWebhook(c *fiber.Ctx, status int, r *schema.WebhookRecord, secret string) error {
	c.Set(fiber.HeaderCacheControl, "no-store")
	return httpapi.JSON(c, status, struct {
		Success bool `json:"success"`
		shownWebhook
		Secret string `json:"secret,omitempty"`
	}{true, showWebhook(r), secret})
}

// listWebhooks is GET /api/webhooks: all of the tenant's, the oldest first.
func (q *Query) listWebhooks(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	all := []shownWebhook{}
	for _, r := range q.post(httpapi.IdentityOf(c).Tenant).webhooks() {
		all = append(all, showWebhook(&r))
	}
	return httpapi.JSON(c, fiber.StatusOK, struct {
		Success  bool           `json:"success"`
		Webhooks []shownWebhook `json:"webhooks"`
		pageEnd
	}{true, all, pageEnd{}})
}

// pageEnd is the end of a list that has one page.
type pageEnd struct {
	NextCursor *string `json:"next_cursor"`
	HasMore    bool    `json:"has_more"`
}

// showWebhook is GET /api/webhooks/{id}.
func (q *Query) showWebhook(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	r, err := q.webhook(c)
	if err != nil {
		return err
	}
	return answerWebhook(c, fiber.StatusOK, &r, "")
}

// webhook is the one that the path names.
func (q *Query) webhook(c *fiber.Ctx) (schema.WebhookRecord, error) {
	return q.post(httpapi.IdentityOf(c).Tenant).webhook(strings.Clone(c.Params("id")))
}

// webhookBody is what POST and PUT take.
type webhookBody struct {
	Version       *int64            `json:"version"`
	Name          string            `json:"name"`
	Type          schema.TargetType `json:"type"`
	URL           *string           `json:"url"`
	To            []string          `json:"to"`
	Rules         []string          `json:"rules"`
	Severities    []string          `json:"severities"`
	Tags          []string          `json:"tags"`
	Burst         *int              `json:"burst"`
	DigestSeconds *int              `json:"digest_seconds"`
	Enabled       *bool             `json:"enabled"`
}

var webhookMembers = []string{"name", "type", "url", "to", "rules", "severities", "tags", "burst", "digest_seconds", "enabled"}

// record makes a webhook's record of a body; of old, a new one's zero, it keeps what the body does not say and cannot show.
func (b *webhookBody) record(n *Notifications, old schema.WebhookRecord) (schema.WebhookRecord, notify.Credentials, error) {
	var m matcher
	r := old
	r.Name, r.To, r.Rules, r.Severities, r.Tags = b.Name, b.To, b.Rules, b.Severities, b.Tags
	m.list("rules", b.Rules, maxWord, maxRules)
	m.severities(b.Severities)
	m.list("tags", b.Tags, maxWord, maxTags)
	if r.Name == "" || len(r.Name) > maxText || !isPlain(r.Name) {
		m.refuse("name", fmt.Sprintf("must be 1 to %d bytes without control characters", maxText))
	}
	r.Burst, r.DigestSeconds, r.Disabled = notify.DefaultBurst, notify.DefaultDigest, ""
	if b.Burst != nil {
		r.Burst = *b.Burst
	}
	if b.DigestSeconds != nil {
		r.DigestSeconds = *b.DigestSeconds
	}
	if r.Burst < 0 || r.Burst > notify.MaxBurst {
		m.refuse("burst", fmt.Sprintf("must be 0 to %d", notify.MaxBurst))
	}
	if r.DigestSeconds < notify.MinDigest || r.DigestSeconds > notify.MaxDigest {
		m.refuse("digest_seconds", fmt.Sprintf("must be %d to %d", notify.MinDigest, notify.MaxDigest))
	}
	if b.Enabled != nil && !*b.Enabled {
		r.Disabled = schema.DisabledByUser
	}
	credentials := b.target(n, &r, &m)
	return r, credentials, m.err()
}

// target checks where alerts are to go.
func (b *webhookBody) target(n *Notifications, r *schema.WebhookRecord, m *matcher) (c notify.Credentials) {
	kind := b.Type
	if kind == "" {
		kind = schema.TargetWebhook
	}
	if r.Type != "" {
		if b.Type != "" && b.Type != r.Type {
			m.refuse("type", "cannot be changed")
		}
		kind = r.Type
		c, _ = notify.OpenCredentials(n.Secret, r.Sealed) // an e-mail has none
	}
	r.Type = kind
	switch kind {
	case schema.TargetEmail:
		b.addresses(n, m)
		if b.URL != nil {
			m.refuse("url", "is for webhook and slack")
		}
	case schema.TargetWebhook, schema.TargetSlack:
		if len(b.To) > 0 {
			m.refuse("to", "is for email")
		}
		switch {
		case b.URL != nil:
			if err := notify.CheckURL(*b.URL, n.Networks); err != nil {
				m.refuse("url", err.Error())
			}
			c.URL, r.Shown = *b.URL, notify.ShownURL(*b.URL, kind == schema.TargetSlack)
		case c.URL == "":
			m.refuse("url", "is missing")
		}
		if kind == schema.TargetWebhook && c.Secret == "" {
			c.Secret = notify.NewSecret()
		}
	default:
		m.refuse("type", "must be webhook, slack or email")
	}
	return c
}

func (b *webhookBody) addresses(n *Notifications, m *matcher) {
	if !n.Mail {
		m.refuse("type", "email needs a mail server: this installation has none (--smtp-address)")
		return
	}
	if len(b.To) == 0 || len(b.To) > maxTo {
		m.refuse("to", fmt.Sprintf("must be 1 to %d e-mail addresses", maxTo))
	}
	for _, to := range b.To {
		if _, err := mail.ParseAddress(to); err != nil {
			m.refuse("to", err.Error())
		}
	}
}

// createWebhook is POST /api/webhooks.
func (q *Query) createWebhook(c *fiber.Ctx) error {
	var b webhookBody
	if err := readMembers(c, &b, webhookMembers...); err != nil {
		return err
	}
	n := q.cfg.Notifications
	identity := httpapi.IdentityOf(c)
	if len(q.post(identity.Tenant).webhooks()) >= maxWebhooks {
		return httpapi.BadRequest(codeWebhookLimit, fmt.Sprintf("A tenant has at most %d webhooks.", maxWebhooks))
	}
	now := schema.MillisOf(q.cfg.Now())
	r, credentials, err := b.record(n, schema.WebhookRecord{Tenant: identity.Tenant.Name(), ID: newID("wh_"), CreatedAt: now})
	if err != nil {
		return err
	}
	if err := q.writeWebhook(c, &r, &credentials); err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/webhooks/"+r.ID)
	return answerWebhook(c, fiber.StatusCreated, &r, credentials.Secret)
}

// replaceWebhook is PUT /api/webhooks/{id}. A url that is left out stays as it is: nobody can read it to send it again.
func (q *Query) replaceWebhook(c *fiber.Ctx) error {
	var b webhookBody
	if err := readMembers(c, &b, append([]string{"version"}, webhookMembers...)...); err != nil {
		return err
	}
	old, err := q.webhook(c)
	if err != nil {
		return err
	}
	r, credentials, err := b.record(q.cfg.Notifications, old)
	if err != nil {
		return err
	}
	if b.Version == nil {
		return httpapi.InvalidFields(httpapi.FieldError{Field: "version", Message: "is missing: the version that this one replaces"})
	}
	if *b.Version != old.Version {
		return webhookConflict(&old)
	}
	if err := q.writeWebhook(c, &r, &credentials); err != nil {
		return err
	}
	return answerWebhook(c, fiber.StatusOK, &r, "")
}

// deleteWebhook is DELETE /api/webhooks/{id}. What waits for it is dropped.
func (q *Query) deleteWebhook(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	old, err := q.webhook(c)
	if err != nil {
		return err
	}
	r := schema.WebhookRecord{Tenant: old.Tenant, ID: old.ID, Version: old.Version, Deleted: true}
	if err := q.writeWebhook(c, &r, nil); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// maxOverlap bounds how long two secrets sign.
const (
	maxOverlap     = 7 * 24 * 3600
	defaultOverlap = 24 * 3600
)

// rotateWebhook is POST /api/webhooks/{id}/rotate: a new secret, beside which the old one signs for a while.
func (q *Query) rotateWebhook(c *fiber.Ctx) error {
	var b struct {
		OverlapSeconds *int64 `json:"overlap_seconds"`
	}
	if err := readMembers(c, &b, "overlap_seconds"); err != nil {
		return err
	}
	r, err := q.webhook(c)
	if err != nil {
		return err
	}
	overlap := int64(defaultOverlap)
	if b.OverlapSeconds != nil {
		overlap = *b.OverlapSeconds
	}
	if overlap < 0 || overlap > maxOverlap {
		return httpapi.InvalidFields(httpapi.FieldError{Field: "overlap_seconds", Message: fmt.Sprintf("must be 0 to %d", maxOverlap)})
	}
	if r.Type != schema.TargetWebhook {
		return webhookRefusal(&r, "Only webhooks of the type webhook are signed.")
	}
	credentials, err := notify.OpenCredentials(q.cfg.Notifications.Secret, r.Sealed)
	if err != nil {
		return httpapi.Internal(err)
	}
	credentials.Previous, credentials.Secret = credentials.Secret, notify.NewSecret()
	r.PreviousUntil = schema.MillisOf(q.cfg.Now()) + schema.Millis(overlap*1000)
	if err := q.writeWebhook(c, &r, &credentials); err != nil {
		return err
	}
	return answerWebhook(c, fiber.StatusOK, &r, credentials.Secret)
}

// writeWebhook makes r the next version, and reads it back: of two that make the same one, the first in the log counts.
func (q *Query) writeWebhook(c *fiber.Ctx, r *schema.WebhookRecord, credentials *notify.Credentials) error {
	n := q.cfg.Notifications
	r.Version, r.By, r.At = r.Version+1, httpapi.IdentityOf(c).KeyID, schema.MillisOf(q.cfg.Now())
	if credentials != nil && r.Type != schema.TargetEmail {
		r.Sealed = credentials.Seal(n.Secret)
	}
	offset, err := q.appendAndRead(c, "webhook", func(ctx context.Context) (int64, error) { return n.AppendWebhook(ctx, *r) }, n.Webhooks.Wait)
	if err != nil {
		return err
	}
	if v, _ := n.Webhooks.Get(r.Tenant, r.ID); v.Offset != offset {
		return webhookConflict(&v.Record)
	}
	return nil
}

// appendAndRead writes a record and waits until this node has read it. A write that has begun is not given up because
// nobody waits for its answer; what is under way when the time is up may be in the log.
func (q *Query) appendAndRead(c *fiber.Ctx, what string, write func(context.Context) (int64, error), wait func(context.Context, int64) error) (int64, error) {
	j := q.newJob(httpapi.IdentityOf(c).Tenant, httpapi.RequestID(c), q.cfg.StatementTimeout)
	defer j.end()
	offset, err := write(j.ctx)
	if err == nil && wait != nil {
		err = wait(j.ctx, offset+1)
	}
	if err != nil {
		return 0, unavailable(codeOutcomeUnknown, "The change may or may not have been made: read the "+what+" and try again.", fmt.Errorf("write %s: %w", what, err))
	}
	return offset, nil
}

func webhookConflict(now *schema.WebhookRecord) error {
	return webhookRefusal(now, fmt.Sprintf("The webhook is at version %d: read it again.", now.Version))
}

func webhookRefusal(now *schema.WebhookRecord, message string) error {
	e := httpapi.Conflict(message)
	e.Extra = map[string]any{"current_version": now.Version}
	return e
}
