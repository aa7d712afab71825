package broker_test

import (
	"testing"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// startInside runs an embedded broker and a client of this process's own.
func startInside(t testing.TB, partitions int32) (inside *broker.Client, addr string) {
	t.Helper()
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	brokertest.Open(t, e.Addr(), partitions) // makes the topics
	c, err := broker.Open(broker.Config{Brokers: []string{e.Addr()}, Dial: e.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, e.Addr()
}

// TestBothDoors: what comes in by one is seen by the other, and the broker closes with connections open on both.
func TestBothDoors(t *testing.T) {
	const partitions = 3
	inside, addr := startInside(t, partitions)
	outside, _ := brokertest.Open(t, addr, partitions)
	for _, c := range []*broker.Client{inside, outside} {
		p := broker.NewProducer(c, schema.TopicEvents, partitions, broker.DefaultProducerConfig())
		run(t, p.Run)
		for range 10 {
			if err := p.Produce(oneEach(partitions, string(make([]byte, 100_000)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for partition := range int32(partitions) {
		if in, out := readAll(t, inside, schema.TopicEvents, partition), readAll(t, outside, schema.TopicEvents, partition); len(in) != 20 || len(out) != 20 {
			t.Errorf("partition %d: %d records seen from inside, %d from outside", partition, len(in), len(out))
		}
	}
}

func BenchmarkProduceInside(b *testing.B) {
	c, _ := startInside(b, 8)
	p := broker.NewProducer(c, schema.TopicEvents, 8, broker.DefaultProducerConfig())
	run(b, p.Run)
	value := string(make([]byte, 200))
	for b.Loop() {
		if err := p.Produce([]broker.Record{record(0, "tenant\x00key", value)}); err != nil {
			b.Fatal(err)
		}
	}
}
