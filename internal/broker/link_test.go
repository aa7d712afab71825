package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// patient gives nothing up for long, so that a slow machine changes no outcome.
func patient() broker.ProducerConfig {
	cfg := broker.DefaultProducerConfig()
	cfg.Timeout = time.Minute
	return cfg
}

// oneEach is a record for each partition.
func oneEach(partitions int32, value string) []broker.Record {
	var records []broker.Record
	for partition := range partitions {
		records = append(records, record(partition, "k", value))
	}
	return records
}

// startTogether runs a producer on u and returns when a call's records for all partitions leave in one request. requests
// tells what it sent since.
func startTogether(t *testing.T, u *brokertest.Unreliable, partitions int32, cfg broker.ProducerConfig) (p *broker.Producer, c *broker.Client, requests func() [][]int32) {
	t.Helper()
	c, _ = brokertest.Open(t, u.Addr, partitions)
	p = broker.NewProducer(c, schema.TopicEvents, partitions, cfg)
	run(t, p.Run)
	produced := u.Produced(t, schema.TopicEvents)
	sent := awaitTogether(t, p, partitions, produced)
	return p, c, func() [][]int32 { return produced()[sent:] }
}

// awaitTogether produces until a call's records for all partitions leave in one request, and returns how many requests there
// were until then.
func awaitTogether(t *testing.T, p *broker.Producer, partitions int32, produced func() [][]int32) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		before := len(produced())
		if err := p.Produce(oneEach(partitions, "first")); err != nil {
			t.Fatal(err)
		}
		sent := len(produced())
		if sent == before+1 {
			return sent
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests for one call", sent-before)
		}
	}
}

// TestOnePartitionOfARequestFails: each partition of a request has its own outcome. What the others have is sent once.
func TestOnePartitionOfARequestFails(t *testing.T) {
	for _, test := range []struct {
		answer *kerr.Error
		want   error // nil: written
		inLog  bool
	}{
		{answer: kerr.NotLeaderForPartition, inLog: true},
		{answer: kerr.NotEnoughReplicas, inLog: true},
		{answer: kerr.NotEnoughReplicasAfterAppend, inLog: true}, // the repeat is known as one
		{answer: kerr.OutOfOrderSequenceNumber, inLog: true},     // under a new producer id
		{answer: kerr.UnknownProducerID, inLog: true},
		{answer: kerr.MessageTooLarge, want: broker.ErrOutcomeUnknown}, // of the call: some of its records are in the log
		{answer: kerr.TopicAuthorizationFailed, want: broker.ErrOutcomeUnknown},
		{answer: kerr.DuplicateSequenceNumber, want: broker.ErrOutcomeUnknown},
	} {
		t.Run(test.answer.Message, func(t *testing.T) {
			for range 50 { // a call's records leave together unless the machine is busy
				if failsInARequest(t, test.answer, test.want, test.inLog) {
					return
				}
			}
			t.Error("a call's records never leave in one request")
		})
	}
}

// failsInARequest has the broker answer for one of some partitions with an error, and reports whether their batches left in one
// request.
func failsInARequest(t *testing.T, answer *kerr.Error, want error, inLog bool) (together bool) {
	t.Helper()
	const partitions, bad = 4, 2
	u := brokertest.StartUnreliable(t, 1)
	p, c, requests := startTogether(t, u, partitions, patient())
	defer u.Answer(kmsg.Produce, schema.TopicEvents, answer, 1, bad).Remove()
	if err := p.Produce(oneEach(partitions, "this")); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	after := oneEach(partitions, "after")
	if err := p.Produce(after); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	sent := make([]int, partitions)
	for _, request := range requests() {
		for _, partition := range request {
			sent[partition]++
		}
	}
	for partition := range int32(partitions) {
		got := readAll(t, c, schema.TopicEvents, partition)
		got = got[slices.IndexFunc(got, func(r broker.Record) bool { return string(r.Value) != "first" }):]
		want := []string{"this", "after"}
		if partition == bad && !inLog {
			want = want[1:]
		}
		if !slices.Equal(values(got), want) {
			t.Errorf("partition %d has %q, want %q", partition, values(got), want)
		}
		if at := got[len(got)-1].Offset; after[partition].Offset != at {
			t.Errorf("partition %d: acknowledged at %d, is at %d", partition, after[partition].Offset, at)
		}
		if partition != bad && sent[partition] != 2 {
			t.Errorf("partition %d was sent %d times for two batches", partition, sent[partition])
		}
	}
	return len(requests()[0]) == partitions
}

// TestOnePartitionHoldsUpNone: while a partition lacks replicas, the others go on.
func TestOnePartitionHoldsUpNone(t *testing.T) {
	const partitions, bad = 3, 1
	u := brokertest.StartUnreliable(t, 1)
	p, _, _ := startTogether(t, u, partitions, patient())
	fault := u.Answer(kmsg.Produce, schema.TopicEvents, kerr.NotEnoughReplicas, -1, bad)
	defer fault.Remove()
	waits := make(chan error, 1)
	go func() { waits <- p.Produce(oneEach(partitions, "waits")) }()
	for i := range 50 {
		if err := p.Produce([]broker.Record{record(0, "k", fmt.Sprint(i)), record(2, "k", fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-waits:
		t.Errorf("a partition that lacks replicas: %v", err)
	default:
	}
	fault.Remove()
	if err := <-waits; err != nil {
		t.Errorf("when the replicas are there: %v", err)
	}
}

// TestAnswerOfARequestIsLost: what a request had for all its partitions is in the log once.
func TestAnswerOfARequestIsLost(t *testing.T) {
	const partitions = 4
	u := brokertest.StartUnreliable(t, 1)
	p, c, requests := startTogether(t, u, partitions, patient())
	for round, lost := 0, 0; lost < 5; round++ {
		before := awaitTogether(t, p, partitions, requests)
		u.Spoil(brokertest.Faults{CutAnswer: 1})
		done := make(chan error, 1)
		records := oneEach(partitions, fmt.Sprint(round))
		go func() { done <- p.Produce(records) }()
		for len(requests()) == before {
			time.Sleep(time.Millisecond)
		}
		u.Spoil(brokertest.Faults{}) // nearly always after the answer was lost
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(requests()) > before+1 {
			lost++
		}
		for partition := range int32(partitions) {
			got := readAll(t, c, schema.TopicEvents, partition)
			last, before := got[len(got)-1], got[len(got)-2]
			if string(last.Value) != fmt.Sprint(round) || last.Offset != records[partition].Offset || string(before.Value) == string(last.Value) {
				t.Errorf("partition %d ends with %q, acknowledged at %d", partition, values(got[len(got)-2:]), records[partition].Offset)
			}
		}
	}
}

// TestRequestsAreBounded: more than fits into a request goes into the next ones, and no partition is forgotten.
func TestRequestsAreBounded(t *testing.T) {
	const partitions = 24
	u := brokertest.StartUnreliable(t, 1)
	p, _, requests := startTogether(t, u, partitions, patient())
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			if err := p.Produce(oneEach(partitions, string(make([]byte, 600<<10)))); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	for _, request := range requests() {
		if len(request) > 15 {
			t.Errorf("a request has %d batches of 600 KiB", len(request))
		}
	}
}

// TestLeadersMove: partitions change their leaders while records are written; each is in the log once.
func TestLeadersMove(t *testing.T) {
	const partitions, brokers, callers = 6, 3, 6
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.Ports(0, 0, 0), kfake.DataDir(t.TempDir()),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(context.Background(), network, address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c, _ := brokertest.Open(t, cluster.ListenAddrs()[0], partitions)
	p := broker.NewProducer(c, schema.TopicEvents, partitions, patient())
	run(t, p.Run)
	said := newOutcomes()
	var stopped atomic.Bool
	var progress [callers]atomic.Int64
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for i := 0; !stopped.Load(); i++ {
				records := []broker.Record{record(int32(caller), "k", fmt.Sprintf("%d.%d.a", caller, i)), record(int32((caller+i)%partitions), "k", fmt.Sprintf("%d.%d.b", caller, i))}
				err := p.Produce(records)
				if err != nil {
					t.Error(err)
				}
				said.add(t, records, err)
				progress[caller].Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	for move := range int32(2) {
		for partition := range int32(partitions) {
			if err := cluster.MoveTopicPartition(string(schema.TopicEvents), partition, (partition+move)%brokers); err != nil {
				t.Fatal(err)
			}
		}
		for caller := range callers {
			enough := progress[caller].Load() + 20
			for deadline := time.Now().Add(time.Minute); progress[caller].Load() < enough; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("caller %d is stuck", caller)
				}
			}
		}
	}
	stopped.Store(true)
	calling.Wait()
	said.verify(t, c, partitions)
}
