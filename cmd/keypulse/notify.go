package main

import (
	"context"
	"net/netip"

	"keypulse/notify"
	"keypulse/query"
	"keypulse/schema"
)

// followNotifications keeps the webhooks and silences up to date.
func (n *node) followNotifications() error {
	n.webhooks, n.silences = notify.NewWebhooks(), notify.NewSilences()
	if err := n.follow("webhooks", schema.TopicWebhooks, n.webhooks.Apply); err != nil {
		return err
	}
	return n.follow("silences", schema.TopicSilences, n.silences.Apply)
}

// addNotifier runs the notifier role.
func (n *node) addNotifier() {
	tags := notify.NewTags()
	if err := n.follow("tags of keys", schema.TopicKeys, tags.Apply); err != nil {
		n.fail(err)
		return
	}
	nt := notify.New(notify.Config{
		Client: n.client, Incarnation: n.incarnation, Webhooks: n.webhooks, Silences: n.silences, Tags: tags,
		Secret: n.secret, Mail: n.settings.mail(), Networks: n.networks(), Disable: n.disableWebhook,
		Log: n.log, Metrics: n.server.Registry(),
	})
	n.start("notifier", nt.Run)
	n.server.AddCheck("notifier", nt.Check)
}

// notifications is what query shows of webhooks and silences.
func (n *node) notifications() *query.Notifications {
	return &query.Notifications{
		Webhooks: n.webhooks, Silences: n.silences, View: notify.NewView(n.client), Secret: n.secret,
		Networks: n.networks(), Mail: n.settings.SMTPAddress != "",
		AppendWebhook: n.appendWebhook, AppendSilence: n.appendSilence, AppendNotice: n.appendNotice,
	}
}

// networks are those that webhooks may be in beside the public Internet.
func (n *node) networks() []netip.Prefix {
	all, _ := notify.ParseNetworks(n.settings.WebhookNetworks) // finish has seen that they can be parsed
	return all
}

func (n *node) appendWebhook(ctx context.Context, r schema.WebhookRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicWebhooks, schema.RecordKey(r.Tenant, r.ID), r)
}

func (n *node) disableWebhook(ctx context.Context, r schema.WebhookRecord) error {
	_, err := n.appendWebhook(ctx, r)
	return err
}

func (n *node) appendSilence(ctx context.Context, r schema.SilenceRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicSilences, schema.RecordKey(r.Tenant, r.ID), r)
}

func (n *node) appendNotice(ctx context.Context, r schema.NoticeRecord) (int64, error) {
	return notify.AppendNotice(ctx, n.client, r)
}
