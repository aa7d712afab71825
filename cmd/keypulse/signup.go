package main

import (
	"context"
	"net/netip"
	"time"

	"keypulse/internal/signup"
	"keypulse/notify"
	"keypulse/schema"
)

// addSignup serves the page on which companies make their own tenants, where that is turned on.
func (n *node) addSignup() {
	if !n.settings.Signup {
		return
	}
	book := signup.NewBook()
	if err := n.follow("sign-ups", schema.TopicSignups, book.Apply); err != nil {
		n.fail(err)
		return
	}
	s := signup.New(signup.Config{
		Secret: n.secret, Keys: n.keys, Mail: n.settings.mail(), PublicURL: n.settings.PublicURL, Proxies: n.proxies(),
		AppendSignup: n.appendSignup, AppendKey: n.appendAPIKey,
		Audit: func(ctx context.Context, r schema.AuditRecord) error { return appendAudit(ctx, n.client, r) },
		Log:   n.log.Named("signup"), Now: time.Now,
	}, book)
	n.server.Registry().MustRegister(s.Metrics()...)
	n.start("sign-up mails", s.Run)
	s.Register(n.server.App())
}

// proxies are those in front, whose X-Forwarded-For is believed.
func (n *node) proxies() []netip.Prefix {
	all, _ := notify.ParseNetworks(n.settings.ProxyNetworks) // finish has seen that they can be parsed
	return all
}

func (n *node) appendSignup(ctx context.Context, r schema.SignupRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicSignups, []byte(r.ID), r)
}
