package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/broker"
	"keypulse/internal/judged"
	"keypulse/internal/pause"
	"keypulse/schema"
)

// GroupID is the sinks' consumer group.
const GroupID = "keypulse-sink"

// Config is what a sink works with.
type Config struct {
	Client        *broker.Client
	Incarnation   schema.LogRecord // of the log
	DB            driver.Conn      // a migrated database
	BatchRows     int              // an INSERT is sent at so many rows; default 100,000
	BatchWait     time.Duration    // or when its first row has waited so long; default 100 ms
	InsertTimeout time.Duration    // of one INSERT; default 30 s
	Log           *zap.Logger
	Metrics       prometheus.Registerer
}

// Sink stores its share of the log's partitions.
type Sink struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	ready   atomic.Pointer[error] // nil: not a member yet; of nil: storing
	actions atomic.Pointer[error] // the same of alert actions; nil: another sink copies them
}

// New makes a sink.
func New(cfg Config) *Sink {
	if cfg.BatchRows == 0 {
		cfg.BatchRows = 100_000
	}
	if cfg.BatchWait == 0 {
		cfg.BatchWait = 100 * time.Millisecond
	}
	if cfg.InsertTimeout == 0 {
		cfg.InsertTimeout = 30 * time.Second
	}
	return &Sink{cfg: cfg, log: cfg.Log.Named("sink"), metrics: newMetrics(cfg.Metrics)}
}

// Run joins the group and stores until ctx is done; then what it has read is stored.
func (s *Sink) Run(ctx context.Context) error {
	group := broker.Group{ID: GroupID, Topic: schema.TopicEvents, Log: s.log}
	var wait time.Duration
	for pause.For(ctx, wait) == nil {
		began := time.Now()
		if err := s.cfg.Client.RunGroup(ctx, group, s.serve); err != nil {
			s.ready.Store(&err)
			s.log.Error("the sink failed, starting again from its commits", zap.Error(err))
		}
		wait = restartAfter(wait, time.Since(began))
	}
	return nil
}

const (
	// firstRestart and lastRestart are the shortest and the longest pause after a failure.
	firstRestart = 200 * time.Millisecond
	lastRestart  = 5 * time.Second
	// healthyAfter is how long a sink must have run for its failure to count as the first.
	healthyAfter = time.Minute
)

// restartAfter is the pause after a failure: twice the last one, unless the sink was healthy in between.
func restartAfter(last, ran time.Duration) time.Duration {
	if ran >= healthyAfter {
		return firstRestart
	}
	return min(max(2*last, firstRestart), lastRestart)
}

var errNoGeneration = errors.New("not a member of the group yet")

// Check says why the sink does not store: it is no member of its group yet, or its last INSERT, of events or of alert
// actions, failed.
func (s *Sink) Check(context.Context) error {
	err := s.ready.Load()
	if err == nil {
		return errNoGeneration
	}
	if actions := s.actions.Load(); *err == nil && actions != nil {
		return *actions
	}
	return *err
}

// serve stores the partitions of one generation until it is over: recover what the last owner left open, then read all
// partitions at once and write their rows together.
func (s *Sink) serve(ctx context.Context, generation *broker.Generation) error {
	positions, err := s.recover(ctx, generation)
	if err != nil {
		return err
	}
	var none error
	s.ready.Store(&none)
	chunks := make(chan chunk, len(generation.Partitions))
	g, reading := errgroup.WithContext(ctx)
	for _, partition := range generation.Partitions {
		g.Go(func() error { return s.read(reading, partition, positions[partition], chunks) })
	}
	g.Go(func() error { return s.write(reading, generation, chunks) })
	s.actions.Store(nil)
	if slices.Contains(generation.Partitions, actionsOwner) {
		g.Go(func() error { return s.copyActions(reading) })
	}
	return g.Wait()
}

// chunk is what one verdict made of one partition, and the positions around it.
type chunk struct {
	partition     int32
	rows          []judged.Row
	before, after judged.Position
}

// read hands the partition's rows to write. A full channel makes it wait: the log keeps what is not read yet.
func (s *Sink) read(ctx context.Context, partition int32, at judged.Position, chunks chan<- chunk) error {
	r := judged.NewReader(s.cfg.Client, s.cfg.Incarnation, partition, at)
	for {
		before := r.Position()
		rows, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			continue
		}
		select {
		case chunks <- chunk{partition, rows, before, r.Position()}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write gathers chunks and stores them together, one INSERT at a time, until ctx is done.
func (s *Sink) write(ctx context.Context, generation *broker.Generation, chunks <-chan chunk) error {
	w := &writer{sink: s, generation: generation}
	storing, cancel := drain(ctx)
	defer cancel()
	for {
		if err := w.gather(ctx, chunks); err != nil {
			return errors.Join(w.finish(storing), err)
		}
		if err := w.flush(storing); err != nil {
			return err
		}
	}
}

// storeUntilDone stores an intent, trying again while ClickHouse refuses or does not answer.
func (s *Sink) storeUntilDone(ctx context.Context, in intent, blocks []block) error {
	for n := 0; ; n++ {
		start := time.Now()
		err := s.store(ctx, in, blocks)
		if err == nil {
			s.ready.Store(new(error))
			s.metrics.inserted(in.rows(), time.Since(start), blocks)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.metrics.failures.Inc()
		s.ready.Store(&err)
		s.log.Warn("cannot store, trying again", zap.Int64("rows", in.rows()), zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return err
		}
	}
}

// retryAfter is the pause after n+1 failures in a row.
func retryAfter(n int) time.Duration { return min(50*time.Millisecond<<min(n, 6), 2*time.Second) }

// recover closes what earlier owners left open in the generation's partitions and says where to go on.
func (s *Sink) recover(ctx context.Context, generation *broker.Generation) (map[int32]judged.Position, error) {
	commits, err := generation.Committed(ctx, s.cfg.Incarnation.Partitions)
	if err != nil {
		return nil, err
	}
	state := make(map[int32]committed, len(commits))
	for _, c := range commits {
		if state[c.Partition], err = parseCommit(c); err != nil {
			return nil, err
		}
	}
	positions := make(map[int32]judged.Position, len(generation.Partitions))
	redone := map[string]bool{}
	for _, partition := range generation.Partitions {
		c := state[partition]
		if c.open == nil {
			positions[partition] = judged.Position{Offset: c.offset, Verdict: c.verdict}
			continue
		}
		if name := c.open.name(); !redone[name] && stillOpen(c.open, state) {
			redone[name] = true
			if err := s.redo(ctx, c.open); err != nil {
				return nil, fmt.Errorf("redo %s: %w", name, err)
			}
		}
		for _, span := range c.open {
			if span.Partition == partition {
				positions[partition] = judged.Position{Offset: span.To, Verdict: span.Verdict}
			}
		}
	}
	return positions, nil
}

// stillOpen says whether an intent may not be stored: no partition of it has gone on to the next one, which each does
// only when the INSERT has succeeded.
func stillOpen(in intent, state map[int32]committed) bool {
	name := in.name()
	for _, s := range in {
		if open := state[s.Partition].open; open == nil || open.name() != name {
			return false
		}
	}
	return true
}

// redo sends an INSERT again, the same rows under the same token: a no-op where it had succeeded. Partitions that other
// members own by now are read all the same, since the token stands for all of the rows.
func (s *Sink) redo(ctx context.Context, in intent) error {
	s.log.Info("sending again what was under way", zap.String("insert", in.name()), zap.Int64("rows", in.rows()))
	var blocks []block
	for _, span := range in {
		r := judged.NewReader(s.cfg.Client, s.cfg.Incarnation, span.Partition, judged.Position{Offset: span.From, Verdict: span.Before})
		b := block{partition: span.Partition}
		for r.Position().Offset < span.To {
			rows, err := r.Next(ctx)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if row.Offset < span.To {
					b.rows = append(b.rows, row)
				}
			}
		}
		blocks = append(blocks, b)
	}
	return s.storeUntilDone(ctx, in, blocks)
}
