// Package notify tells people of alerts: by webhooks of the Standard Webhooks specification 1.0.0, in Slack, by e-mail.
//
// The invariant it keeps: an alert that was raised is in the outbox once for each webhook that it passes, before anything
// is sent, and stays there until its message was delivered, or its whole retry schedule has failed. So a message may be
// sent twice, always under one id, and is never lost.
//
// It is two steps, each a consumer group of its own:
//
//	verdicts and events ──relay──▶ notices (by tenant) ──partition──▶ outbox (the same partition) ──send──▶ targets
//
// relay.go joins events with verdicts and writes a notice for each alert. partition.go owns a partition of the notices and
// the outbox beside it: desk.go decides, without I/O, what becomes of a notice and of an attempt; outbox.go is what has
// been decided, as the log has it; send.go talks to the world.
//
// It knows tenants by the names in records, as package rules does, and speaks for nobody: who asks on a tenant's behalf is
// package query.
//
//	n := notify.New(notify.Config{Client: client, Incarnation: log, Webhooks: webhooks, …})
//	err := n.Run(ctx)
package notify
