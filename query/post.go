package query

import (
	"context"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/notify"
	"keypulse/schema"
)

// post is one tenant's part of the notifications, and all of them that handlers see.
type post struct {
	n      *Notifications
	tenant schema.Tenant
}

func (q *Query) post(tenant auth.Tenant) post { return post{q.cfg.Notifications, tenant.Name()} }

// webhooks returns the webhooks by id.
func (p post) webhooks() (all []schema.WebhookRecord) {
	for _, v := range p.n.Webhooks.Of(p.tenant) {
		if !v.Record.Deleted {
			all = append(all, v.Record)
		}
	}
	return all
}

// webhook returns one of them.
func (p post) webhook(id string) (schema.WebhookRecord, error) {
	v, ok := p.n.Webhooks.Get(p.tenant, id)
	if !ok || v.Record.Deleted {
		return v.Record, errNoWebhook
	}
	return v.Record, nil
}

// silences returns the silences by id, also those that have ended.
func (p post) silences() (all []schema.SilenceRecord) {
	for _, v := range p.n.Silences.Of(p.tenant) {
		all = append(all, v.Record)
	}
	return all
}

// silencesAfter is how many have not ended at a time.
func (p post) silencesAfter(now schema.Millis) (n int) {
	for _, v := range p.n.Silences.Of(p.tenant) {
		if now < v.Record.Until {
			n++
		}
	}
	return n
}

// silence returns one of them.
func (p post) silence(id string) (schema.SilenceRecord, error) {
	v, ok := p.n.Silences.Get(p.tenant, id)
	if !ok {
		return v.Record, errNoSilence
	}
	return v.Record, nil
}

// deliveries returns a webhook's deliveries, the newest first.
func (p post) deliveries(ctx context.Context, webhook string) ([]notify.Delivery, error) {
	all, err := p.n.View.Deliveries(ctx, p.tenant, webhook)
	if err != nil {
		return nil, errOutbox(err)
	}
	return all, nil
}

// hidden returns what each silence has hidden.
func (p post) hidden(ctx context.Context) (map[string]notify.Hidden, error) {
	all, err := p.n.View.Hidden(ctx, p.tenant)
	if err != nil {
		return nil, errOutbox(err)
	}
	return all, nil
}

func errOutbox(err error) error {
	return unavailable(httpapi.CodeUnavailable, "The log does not answer. Please try again.", err)
}
