package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// kafka-go's connection pools end some time after Close, with their own contexts.
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connPool).discover"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*conn).run"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connGroup).connect"),
	)
}

// run runs f until the test ends and waits for it.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func record(partition int32, key, value string) broker.Record {
	return broker.Record{Partition: partition, Key: []byte(key), Value: []byte(value), Time: schema.MillisOf(time.Now())}
}

// readAll reads a partition from its beginning to its end.
func readAll(t *testing.T, c *broker.Client, topic schema.Topic, partition int32) []broker.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first, end, err := c.Offsets(ctx, topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	var all []broker.Record
	for r := c.NewReader(topic, partition, first); r.Next() < end; {
		records, err := r.Fetch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records { // theirs are valid until the next fetch
			record.Key, record.Value = bytes.Clone(record.Key), bytes.Clone(record.Value)
			all = append(all, record)
		}
	}
	return all
}

func TestProduceGivesEachRecordItsOffset(t *testing.T) {
	const partitions, callers, calls = 4, 8, 50
	c, _ := brokertest.Start(t, partitions)
	p := broker.NewProducer(c, schema.TopicEvents, partitions, broker.DefaultProducerConfig())
	run(t, p.Run)
	var mu sync.Mutex
	want := map[int32]map[int64]string{}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for call := range calls {
				records := make([]broker.Record, 1+call%5)
				for i := range records {
					records[i] = record(int32((caller+call+i)%partitions), "k", fmt.Sprintf("%d-%d-%d", caller, call, i))
				}
				if err := p.Produce(records); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range records {
					if want[r.Partition] == nil {
						want[r.Partition] = map[int64]string{}
					}
					want[r.Partition][r.Offset] = string(r.Value)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := p.Buffered(); n != 0 {
		t.Errorf("buffered %d bytes after all calls returned", n)
	}
	for partition := range int32(partitions) {
		got := readAll(t, c, schema.TopicEvents, partition)
		if len(got) != len(want[partition]) {
			t.Errorf("partition %d: %d records in the log, %d acknowledged", partition, len(got), len(want[partition]))
		}
		for _, r := range got {
			if w := want[partition][r.Offset]; w != string(r.Value) {
				t.Errorf("partition %d offset %d: %q in the log, %q acknowledged", partition, r.Offset, r.Value, w)
			}
		}
	}
}

func TestProduceRefusesWhatItCannotHold(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	p := broker.NewProducer(c, schema.TopicEvents, 1, broker.ProducerConfig{BatchBytes: 1000, BufferedBytes: 1500, Timeout: time.Second})
	if err := p.Produce([]broker.Record{record(0, "k", string(make([]byte, 2000)))}); !errors.Is(err, broker.ErrNotWritten) {
		t.Errorf("a record above the batch size: %v", err)
	}
	many := slices.Repeat([]broker.Record{record(0, "k", string(make([]byte, 500)))}, 4)
	if err := p.Produce(many); !errors.Is(err, broker.ErrBusy) {
		t.Errorf("more than the buffer: %v", err)
	}
	stop := run(t, p.Run)
	if err := p.Produce(many[:2]); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
	stop()
	if err := p.Produce(many[:1]); !errors.Is(err, broker.ErrNotWritten) {
		t.Errorf("after Run ended: %v", err)
	}
	if got := len(readAll(t, c, schema.TopicEvents, 0)); got != 2 {
		t.Errorf("%d records in the log, want 2", got)
	}
}

func TestReaderSaysWhatIsGone(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	r := c.NewReader(schema.TopicEvents, 0, 7)
	_, err := r.Fetch(t.Context())
	var gone *broker.OffsetGoneError
	if !errors.As(err, &gone) || gone.Offset != 7 || gone.End != 0 {
		t.Errorf("reading beyond the end: %v", err)
	}
}

func TestFollowerIsReadyWhenItHasReadWhatWasThere(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	a := broker.NewAppend(c, schema.TopicRules, 0, broker.DefaultProducerConfig())
	for i := range 3 {
		if _, err := a.Records(t.Context(), record(0, "k", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan string, 10)
	f := broker.NewFollower(c, schema.TopicRules, func(r broker.Record) { seen <- string(r.Value) })
	run(t, f.Run)
	<-f.Ready()
	if len(seen) != 3 {
		t.Errorf("ready after %d of 3 records", len(seen))
	}
	if _, err := a.Records(t.Context(), record(0, "k", "later")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-seen
	}
	if got := <-seen; got != "later" {
		t.Errorf("then came %q", got)
	}
}

func TestEnsureTopicsFixesPartitions(t *testing.T) {
	c, log := brokertest.Start(t, 3)
	if log.Partitions != 3 || log.Version != 2 || log.Base != 1 || log.Topic == "" {
		t.Errorf("new log: %+v", log)
	}
	again, err := c.EnsureTopics(t.Context(), broker.TopicConfig{Partitions: 5, Replicas: 1})
	if err != nil || again != log {
		t.Errorf("asked for another number on an existing log: %+v, %v", again, err)
	}
}

func TestGroupSharesPartitionsAndKeepsMetadata(t *testing.T) {
	const partitions = 4
	c, _ := brokertest.Start(t, partitions)
	group := broker.Group{ID: "g", Topic: schema.TopicEvents, Log: zaptest.NewLogger(t)}
	type share struct {
		member     string
		partitions []int32
	}
	shares := make(chan share, 20)
	member := func(name string) func() {
		return run(t, func(ctx context.Context) error {
			return c.RunGroup(ctx, group, func(ctx context.Context, g *broker.Generation) error {
				for _, p := range g.Partitions {
					if err := g.Commit(ctx, []broker.Commit{{Partition: p, Offset: int64(p) + 1, Metadata: "by " + name}}); err != nil {
						return err
					}
				}
				shares <- share{name, g.Partitions}
				<-ctx.Done()
				return ctx.Err()
			})
		})
	}
	await := func(name string, n int) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case s := <-shares:
				if s.member == name && len(s.partitions) == n {
					return
				}
			case <-deadline:
				t.Fatalf("%s never got %d partitions", name, n)
			}
		}
	}
	stopA := member("a")
	await("a", 4)
	stopB := member("b")
	await("b", 2)
	stopA()
	await("b", 4)
	stopB()
	stopC := run(t, func(ctx context.Context) error {
		return c.RunGroup(ctx, group, func(ctx context.Context, g *broker.Generation) error {
			commits, err := g.Committed(ctx, partitions)
			if err != nil {
				return err
			}
			for i, commit := range commits {
				if commit.Offset != int64(i)+1 || commit.Metadata != "by b" {
					t.Errorf("committed: %+v", commit)
				}
			}
			shares <- share{"c", g.Partitions}
			<-ctx.Done()
			return nil
		})
	})
	await("c", 4)
	stopC()
}

func BenchmarkProduceOne(b *testing.B) {
	c, _ := brokertest.Start(b, 8)
	p := broker.NewProducer(c, schema.TopicEvents, 8, broker.DefaultProducerConfig())
	run(b, p.Run)
	value := string(make([]byte, 200))
	for b.Loop() {
		if err := p.Produce([]broker.Record{record(0, "tenant\x00key", value)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProduceParallel(b *testing.B) {
	c, _ := brokertest.Start(b, 8)
	p := broker.NewProducer(c, schema.TopicEvents, 8, broker.DefaultProducerConfig())
	run(b, p.Run)
	value := string(make([]byte, 200))
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for i := int32(0); pb.Next(); i++ {
			if err := p.Produce([]broker.Record{record(i%8, "tenant\x00key", value)}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// TestFencedProducer has a later epoch of its own producer id in the log: it takes a new id, and its records are there once.
func TestFencedProducer(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	other := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	var want []string
	for i := range 3 {
		for _, step := range []struct {
			by    *broker.Append
			value string
		}{{a, fmt.Sprint("own ", i)}, {other, fmt.Sprint("later epoch ", i)}} {
			if step.by == other {
				other.Supersede(a)
			}
			offset, err := step.by.Records(t.Context(), record(0, "k", step.value))
			if err != nil || offset != int64(len(want)) {
				t.Fatalf("%s: at %d: %v", step.value, offset, err)
			}
			want = append(want, step.value)
		}
		id := a.ProducerID()
		offset, err := a.Records(t.Context(), record(0, "k", fmt.Sprint("fenced ", i)))
		if err != nil || offset != int64(len(want)) {
			t.Fatalf("fenced: at %d: %v", offset, err)
		}
		if a.ProducerID() == id {
			t.Error("the fenced producer id is still in use")
		}
		want = append(want, fmt.Sprint("fenced ", i))
	}
	if got := values(readAll(t, c, schema.TopicEvents, 0)); !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}
