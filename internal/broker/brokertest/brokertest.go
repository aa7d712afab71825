// Package brokertest gives tests a real embedded broker with KeyPulse's topics.
package brokertest

import (
	"context"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// Start runs a broker in a folder of the test and returns a client and the log's incarnation.
func Start(t testing.TB, partitions int32) (*broker.Client, schema.LogRecord) {
	t.Helper()
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return Open(t, e.Addr(), partitions)
}

// Open returns a client of the broker at addr, with the topics made.
func Open(t testing.TB, addr string, partitions int32) (*broker.Client, schema.LogRecord) {
	t.Helper()
	c, err := broker.Open(broker.Config{Brokers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	log, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: partitions, Replicas: 1, RetentionBytes: -1, RetentionMS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c, log
}
