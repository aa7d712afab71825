// Package brokertest gives tests a real broker with KeyPulse's topics: the embedded one, or, with KEYPULSE_TEST_BROKER=kafka,
// Apache Kafka. What a test asks of [Start], [StartBroker] or [StartNetwork] holds for both; [StartUnreliable] dictates
// answers, so its broker is always the embedded one, and [StartKafka]'s is never.
package brokertest

import (
	"context"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// sessionTimeout is short, so that a group soon forgets a member that a test has killed.
const sessionTimeout = 600 * time.Millisecond

// Start runs a broker as [StartBroker] does and returns a client and the log's incarnation.
func Start(t testing.TB, partitions int32) (*broker.Client, schema.LogRecord) {
	t.Helper()
	return Open(t, StartBroker(t), partitions)
}

// StartBroker runs a broker that has no topics yet and returns its address.
func StartBroker(t testing.TB) string {
	t.Helper()
	if useKafka(t) {
		return sharedKafka(t).Addr
	}
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", MinSessionTimeout: sessionTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e.Addr()
}

// Open returns a client of the broker at addr, with the topics made.
func Open(t testing.TB, addr string, partitions int32) (*broker.Client, schema.LogRecord) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, log, err := Connect(ctx, addr, partitions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, log
}

// Connect is Open without a test: for a process that a test starts.
func Connect(ctx context.Context, addr string, partitions int32) (*broker.Client, schema.LogRecord, error) {
	c, err := broker.Open(broker.Config{Brokers: []string{addr}, SessionTimeout: sessionTimeout})
	if err != nil {
		return nil, schema.LogRecord{}, err
	}
	log, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: partitions, Replicas: 1, RetentionBytes: -1, RetentionMS: -1})
	return c, log, err
}
