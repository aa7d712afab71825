package query

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/notify"
	"keypulse/schema"
)

const (
	maxSilences = 200 // of a tenant that have not ended
	maxSilence  = 90 * 24 * time.Hour
)

// codeSilenceLimit is the `code` of a failure: see maxSilences.
const codeSilenceLimit = "silence_limit"

var errNoSilence = httpapi.NotFound("There is no silence with this id.")

// shownSilence is a silence as clients see it.
type shownSilence struct {
	ID         string        `json:"id"`
	Version    int64         `json:"version"`
	Reason     string        `json:"reason"`
	State      string        `json:"state"`
	Since      schema.Millis `json:"since"`
	Until      schema.Millis `json:"until"`
	Rules      []string      `json:"rules"`
	Severities []string      `json:"severities"`
	KeyIDs     []string      `json:"key_ids"`
	Tags       []string      `json:"tags"`
	CreatedBy  string        `json:"created_by"`
	UpdatedAt  schema.Millis `json:"updated_at"`
	By         string        `json:"by"`
	Hidden     shownHidden   `json:"hidden"`
}

type shownHidden struct {
	Count  int64          `json:"count"`
	LastAt *schema.Millis `json:"last_at"`
	Alerts []string       `json:"alerts"`
}

func showSilence(r *schema.SilenceRecord, h notify.Hidden, now schema.Millis) shownSilence {
	state := "active"
	switch {
	case now >= r.Until:
		state = "ended"
	case now < r.Since:
		state = "scheduled"
	}
	return shownSilence{
		ID: r.ID, Version: r.Version, Reason: r.Reason, State: state, Since: r.Since, Until: r.Until,
		Rules: orEmpty(r.Rules), Severities: orEmpty(r.Severities), KeyIDs: orEmpty(r.KeyIDs), Tags: orEmpty(r.Tags),
		CreatedBy: r.CreatedBy, UpdatedAt: r.At, By: r.By,
		Hidden: shownHidden{Count: h.Count, LastAt: orNull(h.LastAt), Alerts: orEmpty(h.Alerts)},
	}
}

// hidden is what each silence of the sender's tenant has hidden.
func (q *Query) hidden(c *fiber.Ctx) (map[string]notify.Hidden, error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.StatementTimeout)
	defer cancel()
	return q.post(httpapi.IdentityOf(c).Tenant).hidden(ctx)
}

// listSilences is GET /api/silences: those that are in force or will be, and those that ended in the last 90 days.
func (q *Query) listSilences(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	hidden, err := q.hidden(c)
	if err != nil {
		return err
	}
	now := schema.MillisOf(q.cfg.Now())
	all := []shownSilence{}
	for _, r := range q.post(httpapi.IdentityOf(c).Tenant).silences() {
		if r.Until > now-schema.Millis(notify.SilencesKept.Milliseconds()) {
			all = append(all, showSilence(&r, hidden[r.ID], now))
		}
	}
	return httpapi.JSON(c, fiber.StatusOK, struct {
		Success  bool           `json:"success"`
		Silences []shownSilence `json:"silences"`
		pageEnd
	}{true, all, pageEnd{}})
}

func (q *Query) silence(c *fiber.Ctx) (schema.SilenceRecord, error) {
	return q.post(httpapi.IdentityOf(c).Tenant).silence(strings.Clone(c.Params("id")))
}

// showSilence is GET /api/silences/{id}.
func (q *Query) showSilence(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	r, err := q.silence(c)
	if err != nil {
		return err
	}
	hidden, err := q.hidden(c)
	if err != nil {
		return err
	}
	return q.answerSilence(c, fiber.StatusOK, &r, hidden[r.ID])
}

func (q *Query) answerSilence(c *fiber.Ctx, status int, r *schema.SilenceRecord, h notify.Hidden) error {
	return httpapi.JSON(c, status, struct {
		Success bool `json:"success"`
		shownSilence
	}{true, showSilence(r, h, schema.MillisOf(q.cfg.Now()))})
}

// createSilence is POST /api/silences.
func (q *Query) createSilence(c *fiber.Ctx) error {
	var b struct {
		Reason     string         `json:"reason"`
		Since      *schema.Millis `json:"since"`
		Until      *schema.Millis `json:"until"`
		Rules      []string       `json:"rules"`
		Severities []string       `json:"severities"`
		KeyIDs     []string       `json:"key_ids"`
		Tags       []string       `json:"tags"`
	}
	if err := readMembers(c, &b, "reason", "since", "until", "rules", "severities", "key_ids", "tags"); err != nil {
		return err
	}
	identity := httpapi.IdentityOf(c)
	now := schema.MillisOf(q.cfg.Now())
	r := schema.SilenceRecord{
		Tenant: identity.Tenant.Name(), ID: newID("si_"), Version: 1, Reason: b.Reason, Since: now, Rules: b.Rules, Severities: b.Severities,
		KeyIDs: b.KeyIDs, Tags: b.Tags, CreatedBy: identity.KeyID, By: identity.KeyID, At: now,
	}
	var m matcher
	if r.Reason == "" || len([]rune(r.Reason)) > maxComment || !isPlain(r.Reason) {
		m.refuse("reason", fmt.Sprintf("must be 1 to %d characters without control characters: who comes later wants to know why", maxComment))
	}
	m.list("rules", b.Rules, maxWord, maxRules)
	m.severities(b.Severities)
	m.list("key_ids", b.KeyIDs, maxText, maxRules)
	m.list("tags", b.Tags, maxWord, maxTags)
	if b.Since != nil {
		r.Since = max(*b.Since, now)
	}
	switch {
	case b.Until == nil:
		m.refuse("until", "is missing: a silence must end")
	case *b.Until <= r.Since || *b.Until > now+schema.Millis(maxSilence.Milliseconds()):
		m.refuse("until", "must be after since and within 90 days")
	default:
		r.Until = *b.Until
	}
	if err := m.err(); err != nil {
		return err
	}
	if q.post(identity.Tenant).silencesAfter(now) >= maxSilences {
		return httpapi.BadRequest(codeSilenceLimit, fmt.Sprintf("A tenant has at most %d silences at once.", maxSilences))
	}
	if err := q.writeSilence(c, &r); err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/silences/"+r.ID)
	return q.answerSilence(c, fiber.StatusCreated, &r, notify.Hidden{}) // nothing may fail any more: it is made
}

// endSilence is DELETE /api/silences/{id}: it ends now, and stays to be looked at.
func (q *Query) endSilence(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	r, err := q.silence(c)
	if err != nil {
		return err
	}
	now := schema.MillisOf(q.cfg.Now())
	if now >= r.Until {
		return c.SendStatus(fiber.StatusNoContent)
	}
	r.Version, r.By, r.At, r.Until = r.Version+1, httpapi.IdentityOf(c).KeyID, now, now
	if err := q.writeSilence(c, &r); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

func (q *Query) writeSilence(c *fiber.Ctx, r *schema.SilenceRecord) error {
	n := q.cfg.Notifications
	offset, err := q.appendAndRead(c, "silence", func(ctx context.Context) (int64, error) { return n.AppendSilence(ctx, *r) }, n.Silences.Wait)
	if err != nil {
		return err
	}
	if v, _ := n.Silences.Get(r.Tenant, r.ID); v.Offset != offset {
		e := httpapi.Conflict("Somebody else has ended the silence at the same time.")
		e.Extra = map[string]any{"current_version": v.Record.Version}
		return e
	}
	return nil
}
