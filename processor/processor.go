package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/broker"
	"keypulse/processor/judge"
	"keypulse/rules"
	"keypulse/schema"
)

// GroupID is the processors' consumer group.
const GroupID = "keypulse-processor"

// Config is what a processor works with.
type Config struct {
	Client        *broker.Client
	Incarnation   schema.LogRecord // of the log
	Book          *rules.Book      // someone follows the rules topic into it
	Producer      broker.ProducerConfig
	KeysPerTenant int // keys with state, of a tenant in a partition; the least recently used goes; default 1,000,000
	// CheckpointEvery is how long changes of the state may wait for their checkpoint; default 1 s. What has changed since
	// is replayed after a crash.
	CheckpointEvery time.Duration
	Log             *zap.Logger
	Metrics         prometheus.Registerer
}

// Processor judges its share of the log's partitions.
type Processor struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics

	mu sync.Mutex
	// guards the following
	caughtUp []*atomic.Bool // of the partitions of this generation; nil between two generations
}

// New makes a processor.
func New(cfg Config) *Processor {
	if cfg.KeysPerTenant == 0 {
		cfg.KeysPerTenant = 1_000_000
	}
	if cfg.CheckpointEvery == 0 {
		cfg.CheckpointEvery = time.Second
	}
	return &Processor{cfg: cfg, log: cfg.Log.Named("processor"), metrics: newMetrics(cfg.Metrics)}
}

// Run joins the group and judges until ctx is done.
func (p *Processor) Run(ctx context.Context) error {
	group := broker.Group{ID: GroupID, Topic: schema.TopicEvents, Log: p.log}
	err := p.cfg.Client.RunGroup(ctx, group, p.serve)
	if err != nil {
		return fmt.Errorf("run processor: %w", err)
	}
	return nil
}

// serve judges the partitions of one generation, each by its own goroutine, until it is over.
func (p *Processor) serve(ctx context.Context, generation *broker.Generation) error {
	commits, err := generation.Committed(ctx, p.cfg.Incarnation.Partitions)
	if err != nil {
		return err
	}
	caughtUp := make([]*atomic.Bool, len(generation.Partitions))
	for i := range caughtUp {
		caughtUp[i] = new(atomic.Bool)
	}
	p.owns(caughtUp)
	defer p.owns(nil)
	g, ctx := errgroup.WithContext(ctx)
	for i, number := range generation.Partitions {
		g.Go(func() error {
			state, err := p.restore(ctx, number, commits[number])
			if err != nil {
				return err
			}
			defer state.judge.Close()
			part, err := p.openPartition(ctx, generation, number, state, caughtUp[i])
			if err != nil {
				return err
			}
			return part.run(ctx)
		})
	}
	return g.Wait()
}

// newJudge makes a judge that knows nothing.
func (p *Processor) newJudge(number int32) *judge.Judge {
	return judge.New(judge.Config{
		Book: p.cfg.Book, Base: p.cfg.Incarnation.Base, Partition: number, KeysPerTenant: p.cfg.KeysPerTenant,
	})
}

// newSaver makes the saver of a partition that was restored from a manifest; it begins a pass of its own.
func (p *Processor) newSaver(generation *broker.Generation, number int32, from manifest, log *zap.Logger) *saver {
	producer := p.cfg.Producer
	producer.Timeout = saveTimeout // a rebalance waits for the last cut
	return &saver{
		owner: uuid.NewString(), partition: number, client: p.cfg.Client, generation: generation,
		state: broker.NewAppend(p.cfg.Client, schema.TopicState, number, producer),
		cuts:  make(chan cut, 1), free: make(chan []byte, 1), metrics: p.metrics, log: log,
		spans: slices.Clone(from.Spans), start: from.Start, passFrom: -1,
	}
}

func (p *Processor) owns(caughtUp []*atomic.Bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.caughtUp = caughtUp
}

// Errors of readiness.
var (
	errNoGeneration = errors.New("not a member of the group yet")
	errBehind       = errors.New("behind the log")
)

// Check says why the processor is not ready: it is no member of its group yet, or one of its partitions is behind.
func (p *Processor) Check(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.caughtUp == nil {
		return errNoGeneration
	}
	for _, ok := range p.caughtUp {
		if !ok.Load() {
			return errBehind
		}
	}
	return nil
}
