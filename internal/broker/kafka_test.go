package broker_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestBrokerKilledUnderLoad kills Apache Kafka while records are written to it over a bad network, and starts it again:
// each acknowledged record is in the log once, also those whose acknowledgement died with the broker.
func TestBrokerKilledUnderLoad(t *testing.T) {
	brokertest.NeedsKafka(t, "the embedded broker forgets sequences when it is killed, and dies with its producers")
	const partitions, callers = 4, 8
	k := brokertest.StartKafka(t, brokertest.KafkaConfig{})
	n := k.StartNetwork(t, 3)
	c, _ := brokertest.Open(t, n.Addr, partitions)
	cfg := broker.DefaultProducerConfig()
	cfg.Timeout = 30 * time.Second // longer than a restart takes
	p := broker.NewProducer(c, schema.TopicEvents, partitions, cfg)
	run(t, p.Run)
	n.Spoil(brokertest.Faults{CutRequest: 0.01, CutAnswer: 0.01})
	said := newOutcomes()
	var written atomic.Int64
	var stopped atomic.Bool
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := 0; !stopped.Load(); i++ {
				records := []broker.Record{record(int32((caller+i)%partitions), "k", fmt.Sprintf("%d.%d", caller, i))}
				err := p.Produce(records)
				said.add(t, records, err)
				if err == nil {
					written.Add(1)
				}
			}
		})
	}
	more := func() {
		t.Helper()
		enough := written.Load() + 200
		for deadline := time.Now().Add(2 * time.Minute); written.Load() < enough; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is written any more")
			}
		}
	}
	for range soak(1, 20) {
		more()
		k.Kill()
		k.Restart(t)
	}
	more()
	stopped.Store(true)
	wg.Wait()
	n.Calm(t)
	w, not, unknown := said.counts()
	t.Logf("%d records written, %d not written, %d unknown", w, not, unknown)
	clean, _ := brokertest.Open(t, k.Addr, partitions)
	said.verify(t, clean, partitions)
}

// TestForgottenProducer waits until the broker has forgotten a producer that was silent for long: it goes on writing, each
// record once.
func TestForgottenProducer(t *testing.T) {
	brokertest.NeedsKafka(t, "the embedded broker forgets no producer")
	k := brokertest.StartKafka(t, brokertest.KafkaConfig{Settings: []string{"producer.id.expiration.ms=300", "producer.id.expiration.check.interval.ms=100"}})
	c, _ := brokertest.Open(t, k.Addr, 1)
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	var want []string
	for i := range 4 {
		values := []broker.Record{record(0, "k", fmt.Sprint(2*i)), record(0, "k", fmt.Sprint(2*i+1))}
		offset, err := a.Records(t.Context(), values...)
		if err != nil || offset != int64(2*i) {
			t.Fatalf("batch %d: at %d: %v", i, offset, err)
		}
		want = append(want, string(values[0].Value), string(values[1].Value))
		for deadline := time.Now().Add(time.Minute); k.Producers(t, schema.TopicEvents, 0) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the broker does not forget")
			}
		}
	}
	if got := values(readAll(t, c, schema.TopicEvents, 0)); !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}
