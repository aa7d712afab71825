package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/pause"
	"keypulse/schema"
)

// ProducerConfig bounds a producer.
type ProducerConfig struct {
	BatchBytes    int           // largest record batch; default 900 KiB, below the broker's usual 1 MiB
	BufferedBytes int64         // records accepted and not acknowledged, of all partitions; beyond it ErrBusy; default 64 MiB
	Timeout       time.Duration // from a batch's first try until its outcome is given up, and the longest that it queues; default 10 s
	Fragile       bool          // the broker is the embedded one: UNKNOWN_SERVER_ERROR ends Run with ErrBrokerFailed
}

// DefaultProducerConfig is what ingest uses.
func DefaultProducerConfig() ProducerConfig {
	return ProducerConfig{BatchBytes: 900 << 10, BufferedBytes: 64 << 20, Timeout: 10 * time.Second}
}

// Producer writes records to all partitions of a topic. There is no linger: a batch is what gathered while the one
// before it was under way. The queue is bounded by bytes; a full one refuses ([ErrBusy]).
type Producer struct {
	cfg      ProducerConfig
	client   *Client
	topic    schema.Topic
	queues   []*queue // by partition
	buffered atomic.Int64
	flights  sync.Pool
}

// NewProducer makes a producer for a topic of so many partitions. Records are delivered while [Producer.Run] runs.
func NewProducer(c *Client, topic schema.Topic, partitions int32, cfg ProducerConfig) *Producer {
	p := &Producer{cfg: cfg, client: c, topic: topic}
	for i := range partitions {
		p.queues = append(p.queues, &queue{
			lane: lane{client: c, topic: topic, partition: i, timeout: cfg.Timeout, fragile: cfg.Fragile},
			wake: make(chan struct{}, 1), buffered: &p.buffered,
		})
	}
	p.flights.New = func() any {
		return &flight{done: make(chan struct{}, 1), heads: slices.Repeat([]int32{-1}, int(partitions))}
	}
	return p
}

// Run delivers until ctx is done and every record accepted before has its outcome. It returns early only with
// [ErrBrokerFailed] or [ErrOtherLog].
func (p *Producer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	linksEnded := make(chan struct{})
	g.Go(func() error {
		defer close(linksEnded)
		p.route(ctx)
		return nil
	})
	for _, q := range p.queues {
		g.Go(func() error { return q.run(ctx, linksEnded) })
	}
	return g.Wait()
}

// routeEvery is how often the partitions' leaders are looked up, in what kafka-go knows of them: it asks a broker every few
// seconds. Until then what goes to an old leader comes back, and its queue's goroutine finds the new one.
const routeEvery = time.Second

// route gives each queue the link to its leader, and runs the links, until ctx is done and the links have ended.
func (p *Producer) route(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	links := map[int32]*link{}
	for {
		led := map[*link][]*queue{}
		leaders := p.leaders(ctx)
		for partition, q := range p.queues {
			l := q.link.Load() // stays where the leader is not known
			if leader, known := leaders[partition]; known {
				if l = links[leader]; l == nil {
					l = &link{client: p.client, leader: leader, wake: make(chan struct{}, 1)}
					l.out = produce{topic: p.topic, client: p.client.cfg.ClientID, timeout: p.cfg.Timeout / triesInTimeout}
					links[leader] = l
				}
			}
			if l != nil {
				led[l] = append(led[l], q)
			}
		}
		for _, l := range links {
			queues, begins := led[l], l.queues.Load() == nil
			l.queues.Store(&queues)
			if begins {
				running.Go(func() { l.run(ctx) })
			}
			for _, q := range queues {
				if q.link.Swap(l) != l {
					q.wakeGoroutine() // it hands on what waits
				}
			}
		}
		if pause.For(ctx, routeEvery) != nil {
			return
		}
	}
}

// leaders returns the leader of each partition, as far as it is known.
func (p *Producer) leaders(ctx context.Context) map[int]int32 {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leaders := map[int]int32{}
	res, err := p.client.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{string(p.topic)}})
	if err != nil {
		return leaders // the next look will tell
	}
	for _, t := range res.Topics {
		for _, partition := range t.Partitions {
			if partition.Error == nil && partition.ID < len(p.queues) && partition.Leader.Host != "" {
				leaders[partition.ID] = int32(partition.Leader.ID)
			}
		}
	}
	return leaders
}

// Buffered returns the bytes of records that wait for their acknowledgement.
func (p *Producer) Buffered() int64 { return p.buffered.Load() }

// Produce appends the records to their partitions and waits until each has its outcome; then every record has its
// Offset. An error wraps exactly one of [ErrBusy], [ErrNotWritten] and [ErrOutcomeUnknown], the last also when only some
// of the records are in the log. Keys and values are copied before it returns.
func (p *Producer) Produce(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	size := int64(0)
	for i := range records {
		n := records[i].size()
		if n+headerSize > int64(p.cfg.BatchBytes) {
			return fmt.Errorf("produce a record of %d bytes: larger than a batch of %d: %w", n, p.cfg.BatchBytes, ErrNotWritten)
		}
		size += n
	}
	if p.buffered.Add(size) > p.cfg.BufferedBytes {
		p.buffered.Add(-size)
		return fmt.Errorf("produce %d bytes: %w", size, ErrBusy)
	}
	f := p.flights.Get().(*flight)
	f.err, f.written = nil, 0
	f.left.Store(1)
	f.sort(records)
	for _, partition := range f.touched {
		p.queues[partition].append(f, f.heads[partition], p.cfg.BatchBytes)
		f.heads[partition] = -1
	}
	for _, partition := range f.touched { // only now, so that a call's records leave together
		p.queues[partition].wakeUp()
	}
	f.landed()
	<-f.done
	err := f.err
	if err != nil && f.written > 0 && !errors.Is(err, ErrOutcomeUnknown) {
		// What is true of the records that failed is not true of all: only its text goes on.
		err = fmt.Errorf("%w: %d of %d records are written: %s", ErrOutcomeUnknown, f.written, len(records), err.Error())
	}
	f.records = nil
	p.flights.Put(f)
	return err
}

// Append delivers records to one partition of a topic as one batch and returns the offset of the first. It is for
// single writers (a control record, a verdict) that have no use for a [Producer].
type Append struct {
	lane lane
	b    batch
}

// NewAppend makes an appender to a partition. One goroutine owns it.
func NewAppend(c *Client, topic schema.Topic, partition int32, cfg ProducerConfig) *Append {
	return &Append{lane: lane{client: c, topic: topic, partition: partition, timeout: cfg.Timeout, fragile: cfg.Fragile}}
}

// Records writes the records as one batch; the first gets the offset returned. Errors are those of [Producer.Produce].
func (a *Append) Records(ctx context.Context, records ...Record) (int64, error) {
	if a.b.lent {
		a.b = batch{}
	}
	a.b.reset()
	for i := range records {
		a.b.append(&records[i])
	}
	return a.lane.deliver(ctx, &a.b)
}
