package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/rules"
	"keypulse/schema"
)

// appendControl writes a record to a control topic and returns its offset.
func appendControl(ctx context.Context, c *broker.Client, topic schema.Topic, key []byte, record any) (int64, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return 0, fmt.Errorf("encode control record: %w", err)
	}
	a := broker.NewAppend(c, topic, 0, broker.DefaultProducerConfig())
	return a.Records(ctx, broker.Record{Key: key, Value: value, Time: schema.MillisOf(time.Now())})
}

// appendAudit writes a line of the audit.
func appendAudit(ctx context.Context, c *broker.Client, r schema.AuditRecord) error {
	_, err := appendControl(ctx, c, schema.TopicAudit, []byte(r.Tenant), r)
	return err
}

// readControl applies everything that is in a control topic now. Records that change nothing are passed over, as every
// node does.
func readControl(ctx context.Context, c *broker.Client, topic schema.Topic, apply func(offset int64, key, value []byte) error) error {
	return broker.NewFollower(c, topic, func(r broker.Record) {
		_ = apply(r.Offset, r.Key, r.Value)
	}).ReadAll(ctx)
}

// openAdmin connects a short-lived command to the log of the installation that the settings describe.
func openAdmin(ctx context.Context, s *settings) (*broker.Client, error) {
	c, err := broker.Open(s.broker())
	if err != nil {
		return nil, err
	}
	if err := c.Ping(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w (is KeyPulse running there? Give the settings that it runs with)", err)
	}
	if _, err := c.EnsureTopics(ctx, s.topics()); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readKeys returns all API keys. Without a secret they can be listed, not used.
func readKeys(ctx context.Context, c *broker.Client, secret *auth.Secret) (*auth.Table, error) {
	table := auth.NewTable(secret)
	return table, readControl(ctx, c, schema.TopicAPIKeys, table.Apply)
}

// readUses tells a table when its API keys were used.
func readUses(ctx context.Context, c *broker.Client, table *auth.Table) error {
	return readControl(ctx, c, schema.TopicUses, table.ApplyUses)
}

// readBook returns all rules.
func readBook(ctx context.Context, c *broker.Client) (*rules.Book, error) {
	book := rules.NewBook()
	return book, readControl(ctx, c, schema.TopicRules, book.Apply)
}
