package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
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

// hasty gives up a batch soon, and a try of it in a third of that.
func hasty() broker.ProducerConfig {
	return broker.ProducerConfig{BatchBytes: 1000, BufferedBytes: 1 << 20, Timeout: 450 * time.Millisecond}
}

// soak is how many times as much a test does when it is asked for its full count.
func soak(small, full int) int {
	if os.Getenv("KEYPULSE_SOAK") != "" {
		return full
	}
	return small
}

// outcomes is what producers were told of each record, by its value.
type outcomes struct {
	mu sync.Mutex
	// guards the following
	written map[string]broker.Record
	not     map[string]bool
	unknown map[string]bool
}

func newOutcomes() *outcomes {
	return &outcomes{written: map[string]broker.Record{}, not: map[string]bool{}, unknown: map[string]bool{}}
}

func (o *outcomes) add(t *testing.T, records []broker.Record, err error) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	not, unknown := errors.Is(err, broker.ErrNotWritten) || errors.Is(err, broker.ErrBusy), errors.Is(err, broker.ErrOutcomeUnknown)
	if err != nil && not == unknown {
		t.Errorf("an error that says two things, or nothing: %v", err)
	}
	for _, r := range records {
		switch value := string(r.Value); {
		case err == nil:
			o.written[value] = r
		case unknown:
			o.unknown[value] = true
		default:
			o.not[value] = true
		}
	}
}

func (o *outcomes) counts() (written, not, unknown int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.written), len(o.not), len(o.unknown)
}

// verify compares what was said with what the log holds.
func (o *outcomes) verify(t *testing.T, c *broker.Client, partitions int32) {
	t.Helper()
	seen := map[string]bool{}
	for partition := range partitions {
		for _, r := range readAll(t, c, schema.TopicEvents, partition) {
			value := string(r.Value)
			if seen[value] {
				t.Errorf("%s is in the log twice", value)
			}
			seen[value] = true
			if o.not[value] {
				t.Errorf("%s is in the log, reported as not written", value)
			}
			if w, ok := o.written[value]; ok && (w.Offset != r.Offset || w.Partition != partition) {
				t.Errorf("%s is at %d/%d, acknowledged at %d/%d", value, partition, r.Offset, w.Partition, w.Offset)
			}
		}
	}
	for value := range o.written {
		if !seen[value] {
			t.Errorf("%s is not in the log, but acknowledged", value)
		}
	}
}

// TestProduceOverABadNetwork cuts, delays and swallows requests and answers at random, and twice everything at once,
// until some outcomes are unknown.
func TestProduceOverABadNetwork(t *testing.T) {
	const partitions, callers = 4, 12
	total := soak(1500, 100_000)
	u := brokertest.StartNetwork(t, 7)
	c, _ := brokertest.Open(t, u.Addr, partitions)
	p := broker.NewProducer(c, schema.TopicEvents, partitions, hasty())
	run(t, p.Run)
	bad := brokertest.Faults{CutRequest: 0.02, CutAnswer: 0.02, Swallow: 0.005, Delay: 0.02, MaxDelay: 300 * time.Millisecond}
	u.Spoil(bad)

	said := newOutcomes()
	var next, storms atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for {
				n := int(next.Add(1))
				if n > total {
					return
				}
				records := make([]broker.Record, 1+n%4)
				for i := range records {
					records[i] = record(int32((caller+i)%partitions), "k", fmt.Sprintf("%d.%d", n, i))
				}
				said.add(t, records, p.Produce(records))
			}
		})
	}
	storm := func(f brokertest.Faults, enough func(not, unknown int) bool) {
		_, not, unknown := said.counts()
		u.Spoil(f)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			_, n, k := said.counts()
			if enough(n-not, k-unknown) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("storm %+v: %d not written, %d unknown", f, n-not, k-unknown)
				break
			}
		}
		u.Spoil(bad)
		storms.Add(1)
	}
	wait := func(part int) {
		for next.Load() < int64(total*part/3) {
			time.Sleep(time.Millisecond)
		}
	}
	wait(1)
	storm(brokertest.Faults{Swallow: 1}, func(_, unknown int) bool { return unknown >= 1 })
	wait(2)
	storm(brokertest.Faults{CutRequest: 1}, func(not, _ int) bool { return not >= callers })
	wg.Wait()
	u.Calm(t)

	for partition := range int32(partitions) {
		records := []broker.Record{record(partition, "k", fmt.Sprint("last-", partition))}
		err := p.Produce(records)
		if err != nil {
			t.Errorf("after the faults: %v", err)
		}
		said.add(t, records, err)
	}
	if n := p.Buffered(); n != 0 {
		t.Errorf("%d bytes are buffered after the last answer", n)
	}
	written, not, unknown := said.counts()
	t.Logf("%d records written, %d not written, %d unknown", written, not, unknown)
	clean, _ := brokertest.Open(t, u.Addr, partitions)
	said.verify(t, clean, partitions)
}

// TestReadOverABadNetwork reads a partition while answers are cut and delayed: no gap, no repeat, nothing missing.
func TestReadOverABadNetwork(t *testing.T) {
	u := brokertest.StartNetwork(t, 11)
	c, _ := brokertest.Open(t, u.Addr, 1)
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	const batches = 200
	for i := range batches {
		if _, err := a.Records(t.Context(), record(0, "k", fmt.Sprint(2*i)), record(0, "k", fmt.Sprint(2*i+1))); err != nil {
			t.Fatal(err)
		}
	}
	u.Spoil(brokertest.Faults{CutRequest: 0.1, CutAnswer: 0.2, Delay: 0.1, MaxDelay: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Second)
	defer cancel()
	for start := range int64(soak(10, 300)) {
		r := c.NewReader(schema.TopicEvents, 0, start)
		for want := start; want < 2*batches; {
			records, err := r.Fetch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range records {
				if got.Offset != want || string(got.Value) != fmt.Sprint(want) {
					t.Fatalf("offset %d: %q, want %d", got.Offset, got.Value, want)
				}
				want++
			}
		}
	}
}

// TestOffsetsOverABadNetwork loses one of the two answers, or both.
func TestOffsetsOverABadNetwork(t *testing.T) {
	u := brokertest.StartUnreliable(t, 1)
	c, _ := brokertest.Open(t, u.Addr, 1)
	for hangUps := range 4 {
		for range hangUps {
			u.HangUp(kmsg.ListOffsets)
		}
		if first, end, err := c.Offsets(t.Context(), schema.TopicEvents, 0); err != nil || first != 0 || end != 0 {
			t.Errorf("%d answers lost: %d to %d: %v", hangUps, first, end, err)
		}
	}
}

// TestProduceAnswers gives the broker's every kind of answer its right reaction.
func TestProduceAnswers(t *testing.T) {
	const always = -1
	u := brokertest.StartUnreliable(t, 1)
	c, _ := brokertest.Open(t, u.Addr, 1)
	type answer struct {
		err   *kerr.Error
		count int
	}
	for _, test := range []struct {
		name    string
		answers []answer
		want    error // nil: written
		inLog   bool
		newID   bool // the next batch comes from a new producer id
		soon    bool // known without a second try
	}{
		{name: "not enough replicas, then enough", answers: []answer{{kerr.NotEnoughReplicas, 2}}, inLog: true},
		{name: "never enough replicas", answers: []answer{{kerr.NotEnoughReplicas, always}}, want: broker.ErrNotWritten, newID: true},
		{name: "appended, not replicated, then known as a repeat", answers: []answer{{kerr.NotEnoughReplicasAfterAppend, 2}}, inLog: true},
		{name: "appended, never replicated", answers: []answer{{kerr.NotEnoughReplicasAfterAppend, always}}, want: broker.ErrOutcomeUnknown, inLog: true, newID: true},
		{name: "timed out, then known as a repeat", answers: []answer{{kerr.RequestTimedOut, 1}}, inLog: true},
		{name: "always timed out", answers: []answer{{kerr.RequestTimedOut, always}}, want: broker.ErrOutcomeUnknown, inLog: true, newID: true},
		{name: "a new leader", answers: []answer{{kerr.NotLeaderForPartition, 1}}, inLog: true},
		// A leader that loses its office while it waits for its replicas answers the same.
		{name: "never a leader", answers: []answer{{kerr.NotLeaderForPartition, always}}, want: broker.ErrOutcomeUnknown, newID: true},
		{name: "the topic is not known", answers: []answer{{kerr.UnknownTopicOrPartition, always}}, want: broker.ErrOutcomeUnknown, newID: true},
		{name: "the leader's disk failed", answers: []answer{{kerr.KafkaStorageError, always}}, want: broker.ErrOutcomeUnknown, newID: true},
		{name: "the request was garbled", answers: []answer{{kerr.CorruptMessage, 1}}, inLog: true},
		{name: "sequence out of order", answers: []answer{{kerr.OutOfOrderSequenceNumber, 1}}, inLog: true, newID: true},
		{name: "producer forgotten", answers: []answer{{kerr.UnknownProducerID, 1}}, inLog: true, newID: true},
		{name: "old epoch", answers: []answer{{kerr.InvalidProducerEpoch, 1}}, inLog: true, newID: true},
		{name: "foreign producer id", answers: []answer{{kerr.InvalidProducerIDMapping, 1}}, inLog: true, newID: true},
		// The batch may be in the log under the old id: under a new one it would be there twice.
		{
			name: "perhaps appended, then out of order", answers: []answer{{kerr.RequestTimedOut, 1}, {kerr.OutOfOrderSequenceNumber, 1}},
			want: broker.ErrOutcomeUnknown, inLog: true, newID: true,
		},
		{
			name: "perhaps appended, then forgotten", answers: []answer{{kerr.NotLeaderForPartition, 1}, {kerr.UnknownProducerID, 1}},
			want: broker.ErrOutcomeUnknown, newID: true,
		},
		{name: "older than what the broker remembers", answers: []answer{{kerr.DuplicateSequenceNumber, 1}}, want: broker.ErrOutcomeUnknown, newID: true, soon: true},
		{name: "too large", answers: []answer{{kerr.MessageTooLarge, 1}}, want: broker.ErrNotWritten, newID: true, soon: true},
		{name: "not allowed", answers: []answer{{kerr.TopicAuthorizationFailed, 1}}, want: broker.ErrNotWritten, newID: true, soon: true},
		{name: "the clock is wrong", answers: []answer{{kerr.InvalidTimestamp, 1}}, want: broker.ErrNotWritten, newID: true, soon: true},
		{name: "unknown server error", answers: []answer{{kerr.UnknownServerError, 1}}, want: broker.ErrOutcomeUnknown, newID: true, soon: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := broker.NewAppend(c, schema.TopicEvents, 0, hasty())
			first, err := a.Records(t.Context(), record(0, "k", "before"))
			if err != nil {
				t.Fatal(err)
			}
			id := a.ProducerID()
			requests := u.Count(kmsg.Produce, schema.TopicEvents)
			faults := []*kfake.FaultHandle{requests}
			for _, answer := range test.answers {
				faults = append(faults, u.Answer(kmsg.Produce, schema.TopicEvents, answer.err, answer.count))
			}
			offset, err := a.Records(t.Context(), record(0, "k", "this"))
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if err == nil && offset != first+1 {
				t.Errorf("acknowledged at %d, want %d", offset, first+1)
			}
			if once := requests.Hits() == 1; once != test.soon {
				t.Errorf("known after %d requests", requests.Hits())
			}
			for _, fault := range faults {
				fault.Remove()
			}
			if _, err := a.Records(t.Context(), record(0, "k", "after")); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if changed := a.ProducerID() != id; changed != test.newID {
				t.Errorf("producer id changed: %v", changed)
			}
			want := []string{"before", "this", "after"}
			if !test.inLog {
				want = []string{"before", "after"}
			}
			if got := values(readAll(t, c, schema.TopicEvents, 0)[first:]); !slices.Equal(got, want) {
				t.Errorf("the log has %q, want %q", got, want)
			}
		})
	}
}

func values(records []broker.Record) []string {
	var v []string
	for _, r := range records {
		v = append(v, string(r.Value))
	}
	return v
}

// TestEmbeddedBrokerThatCannotWrite ends the producer: what such a broker acknowledges may not be on disk.
func TestEmbeddedBrokerThatCannotWrite(t *testing.T) {
	u := brokertest.StartUnreliable(t, 1)
	c, _ := brokertest.Open(t, u.Addr, 2)
	cfg := hasty()
	cfg.Fragile = true
	p := broker.NewProducer(c, schema.TopicEvents, 2, cfg)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(t.Context()) }()
	if err := p.Produce([]broker.Record{record(0, "k", "good"), record(1, "k", "good")}); err != nil {
		t.Fatal(err)
	}
	defer u.Answer(kmsg.Produce, schema.TopicEvents, kerr.UnknownServerError, 1).Remove()
	// The failed write may have left its bytes on disk.
	if err := p.Produce([]broker.Record{record(0, "k", "failed")}); !errors.Is(err, broker.ErrOutcomeUnknown) {
		t.Errorf("the write that failed: %v", err)
	}
	if err := <-ended; !errors.Is(err, broker.ErrBrokerFailed) {
		t.Errorf("Run ended with %v", err)
	}
	for partition := range int32(2) {
		if err := p.Produce([]broker.Record{record(partition, "k", "later")}); !errors.Is(err, broker.ErrNotWritten) {
			t.Errorf("partition %d afterwards: %v", partition, err)
		}
	}
	if n := p.Buffered(); n != 0 {
		t.Errorf("%d bytes are buffered", n)
	}
}

// TestProducerIDComesLate is a broker just after its start: it knows no producer ids yet.
func TestProducerIDComesLate(t *testing.T) {
	u := brokertest.StartUnreliable(t, 1)
	c, _ := brokertest.Open(t, u.Addr, 1)
	for _, err := range []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator} {
		u.Answer(kmsg.InitProducerID, "", err, 2)
	}
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	if _, err := a.Records(t.Context(), record(0, "k", "v")); err != nil {
		t.Error(err)
	}
	defer u.Answer(kmsg.InitProducerID, "", kerr.CoordinatorNotAvailable, -1).Remove()
	b := broker.NewAppend(c, schema.TopicEvents, 0, hasty())
	if _, err := b.Records(t.Context(), record(0, "k", "without an id")); !errors.Is(err, broker.ErrNotWritten) {
		t.Errorf("without a producer id: %v", err)
	}
	if got := values(readAll(t, c, schema.TopicEvents, 0)); !slices.Equal(got, []string{"v"}) {
		t.Errorf("the log has %q", got)
	}
}

// TestSequenceNumbersNeverWrap comes to the last sequence number, with an answer lost there.
func TestSequenceNumbersNeverWrap(t *testing.T) {
	u := brokertest.StartUnreliable(t, 1)
	c, _ := brokertest.Open(t, u.Addr, 1)
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	three := func() []broker.Record {
		return []broker.Record{record(0, "k", "v"), record(0, "k", "v"), record(0, "k", "v")}
	}
	for _, left := range []int32{3, 4, 2, 0} {
		other := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
		if _, err := other.Records(t.Context(), record(0, "k", "v")); err != nil {
			t.Fatal(err)
		}
		// A broker takes any first number of a producer that it does not know yet.
		other.Renew(t.Context(), t, math.MaxInt32-left)
		id := other.ProducerID()
		for batch := range 3 {
			fault := u.Answer(kmsg.Produce, schema.TopicEvents, kerr.NotEnoughReplicasAfterAppend, 1)
			_, end, err := c.Offsets(t.Context(), schema.TopicEvents, 0)
			if err != nil {
				t.Fatal(err)
			}
			offset, err := other.Records(t.Context(), three()...)
			if err != nil || offset != end {
				t.Errorf("%d numbers left, batch %d: at %d, want %d: %v", left, batch, offset, end, err)
			}
			fault.Remove()
		}
		if other.ProducerID() == id {
			t.Errorf("%d numbers left: no new producer id for 9 records", left)
		}
	}
	if _, err := a.Records(t.Context(), three()...); err != nil {
		t.Fatal(err)
	}
	if got, want := len(readAll(t, c, schema.TopicEvents, 0)), 4+4*9+3; got != want {
		t.Errorf("%d records in the log, want %d", got, want)
	}
}

// TestBrokerIsGone: what could not be sent is known not to be written, and everyone is answered in time, also who queues
// behind others.
func TestBrokerIsGone(t *testing.T) {
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, _ := brokertest.Open(t, e.Addr(), 1)
	p := broker.NewProducer(c, schema.TopicEvents, 1, hasty())
	run(t, p.Run)
	if err := p.Produce([]broker.Record{record(0, "k", "good")}); err != nil {
		t.Fatal(err)
	}
	e.Close()
	_ = p.Produce([]broker.Record{record(0, "k", "sent on the old connection")}) // nobody can know
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range 20 {
		wg.Go(func() {
			err := p.Produce([]broker.Record{record(0, "k", string(make([]byte, 500)))})
			if took := time.Since(begin); !errors.Is(err, broker.ErrNotWritten) || took > 3*hasty().Timeout {
				t.Errorf("call %d: %v after %v", i, err, took)
			}
		})
	}
	wg.Wait()
}
