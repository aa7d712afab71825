package broker_test

import (
	"fmt"
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
