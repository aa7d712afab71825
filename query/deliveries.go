package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/notify"
	"keypulse/schema"
)

// shownDelivery is a delivery as clients see it.
type shownDelivery struct {
	ID            string         `json:"id"`
	Type          string         `json:"type"`
	Alerts        int            `json:"alerts"`
	State         notify.State   `json:"state"`
	Reason        *string        `json:"reason"`
	CreatedAt     schema.Millis  `json:"created_at"`
	NextAttemptAt *schema.Millis `json:"next_attempt_at"`
	AttemptCount  int            `json:"attempt_count"`
	Attempts      []shownTry     `json:"attempts"`
}

type shownTry struct {
	At     schema.Millis `json:"at"`
	Status *int          `json:"status"`
	Error  *string       `json:"error"`
	TookMS int64         `json:"took_ms"`
}

func showDelivery(d *notify.Delivery) shownDelivery {
	s := shownDelivery{
		ID: d.ID, Type: d.Type, Alerts: d.Alerts, State: d.State, CreatedAt: d.CreatedAt, NextAttemptAt: orNull(d.NextAt),
		AttemptCount: d.Attempts, Attempts: []shownTry{},
	}
	if d.Reason != "" {
		s.Reason = &d.Reason
	}
	for i := range d.Tries {
		t := &d.Tries[i]
		x := shownTry{At: t.At, TookMS: t.TookMS}
		if t.Status != 0 {
			x.Status = &t.Status
		}
		if t.Error != "" {
			x.Error = &t.Error
		}
		s.Attempts = append(s.Attempts, x)
	}
	return s
}

var errNoDelivery = httpapi.NotFound("There is no delivery with this id; of those that have ended the last 100 are kept.")

// deliveries are a webhook's, the newest first.
func (q *Query) deliveries(c *fiber.Ctx, r *schema.WebhookRecord) ([]notify.Delivery, error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.StatementTimeout)
	defer cancel()
	return q.post(httpapi.IdentityOf(c).Tenant).deliveries(ctx, r.ID)
}

// listDeliveries is GET /api/webhooks/{id}/deliveries.
func (q *Query) listDeliveries(c *fiber.Ctx) error {
	p, err := parseParams(c, "limit", "state")
	if err != nil {
		return err
	}
	states := []string{string(notify.Pending), string(notify.Delivered), string(notify.Failed)}
	state, filtered := p.oneOf("state", states)
	limit := p.limit()
	if err := p.err(); err != nil {
		return err
	}
	r, err := q.webhook(c)
	if err != nil {
		return err
	}
	all, err := q.deliveries(c, &r)
	if err != nil {
		return err
	}
	shown := []shownDelivery{}
	for i := range all {
		if len(shown) < limit && (!filtered || string(all[i].State) == state) {
			shown = append(shown, showDelivery(&all[i]))
		}
	}
	return httpapi.JSON(c, fiber.StatusOK, struct {
		Success    bool            `json:"success"`
		Deliveries []shownDelivery `json:"deliveries"`
		pageEnd
	}{true, shown, pageEnd{}})
}

// testWebhook is POST /api/webhooks/{id}/test: a message to see that it arrives. What came of it is in the deliveries.
func (q *Query) testWebhook(c *fiber.Ctx) error {
	if err := readMembers(c, &struct{}{}); err != nil {
		return err
	}
	r, err := q.webhook(c)
	if err != nil {
		return err
	}
	if r.Disabled != "" {
		return webhookRefusal(&r, "The webhook is disabled: enable it first.")
	}
	all, err := q.deliveries(c, &r)
	if err != nil {
		return err
	}
	waiting := 0
	for i := range all {
		if all[i].State == notify.Pending {
			waiting++
		}
	}
	if waiting >= notify.MaxPending {
		return webhookRefusal(&r, fmt.Sprintf("%d messages wait for this webhook already: its deliveries say why.", waiting))
	}
	id := newID("")
	return q.notice(c, &r, schema.NoticeRecord{Kind: schema.NoticeTest, ID: id}, notify.TestDeliveryID(r.Tenant, r.ID, id))
}

// resendDelivery is POST /api/webhooks/{id}/deliveries/{delivery}/resend: the same message again, under its id.
func (q *Query) resendDelivery(c *fiber.Ctx) error {
	if err := readMembers(c, &struct{}{}); err != nil {
		return err
	}
	r, err := q.webhook(c)
	if err != nil {
		return err
	}
	all, err := q.deliveries(c, &r)
	if err != nil {
		return err
	}
	id := strings.Clone(c.Params("delivery"))
	if !slices.ContainsFunc(all, func(d notify.Delivery) bool { return d.ID == id }) {
		return errNoDelivery
	}
	if r.Disabled != "" {
		return webhookRefusal(&r, "The webhook is disabled: enable it first.")
	}
	return q.notice(c, &r, schema.NoticeRecord{Kind: schema.NoticeResend, ID: newID(""), DeliveryID: id}, id)
}

// notice asks the notifier for something, which it does soon: 202.
func (q *Query) notice(c *fiber.Ctx, r *schema.WebhookRecord, n schema.NoticeRecord, delivery string) error {
	n.Tenant, n.WebhookID, n.By, n.WebhooksRev = r.Tenant, r.ID, httpapi.IdentityOf(c).KeyID, q.cfg.Notifications.Webhooks.Rev()
	write := func(ctx context.Context) (int64, error) { return q.cfg.Notifications.AppendNotice(ctx, n) }
	if _, err := q.appendAndRead(c, "deliveries", write, nil); err != nil {
		return err
	}
	return httpapi.JSON(c, fiber.StatusAccepted, struct {
		Success    bool   `json:"success"`
		DeliveryID string `json:"delivery_id"`
	}{true, delivery})
}
