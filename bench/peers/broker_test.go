package peers

import (
	"context"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
)

func serveBroker(dir string) (string, func(), error) {
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return "", nil, err
	}
	return e.Addr(), e.Close, nil
}

// startBroker starts a broker in a process of its own, with KeyPulse's topics, and returns its address.
func startBroker(b *testing.B, kind string) string {
	b.Helper()
	addr := ""
	if kind == "apache" {
		addr = brokertest.StartKafka(b, brokertest.KafkaConfig{JVM: []string{"-Xmx1g"}}).Addr
	} else {
		addr = startChild(b, "broker", b.TempDir()).addr
	}
	c, err := broker.Open(broker.Config{Brokers: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: logPartitions, Replicas: 1, RetentionBytes: 64 << 20, RetentionMS: -1}); err != nil {
		b.Fatal(err)
	}
	return addr
}
