package sink

import (
	"context"
	"errors"
	"slices"
	"sync"
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
	Client         *broker.Client
	Incarnation    schema.LogRecord // of the log
	DB             driver.Conn      // a migrated database
	Servers        []driver.Conn    // that hold its rows, see store.Cluster; default: DB alone
	BatchRows      int              // an INSERT is sent at so many rows; default 100,000
	BatchBytes     int              // or at so many bytes of them in memory; default 32 MiB
	BatchWait      time.Duration    // or when its first row has waited so long; default 100 ms
	InsertTimeout  time.Duration    // of one INSERT; default 30 s
	Retention      time.Duration    // events of months that ended longer ago are dropped; 0: never
	RetentionEvery time.Duration    // how often it looks for them; default an hour
	Log            *zap.Logger
	Metrics        prometheus.Registerer
}

// Sink stores its share of the log's partitions.
type Sink struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	ready   atomic.Pointer[error] // nil: not a member yet; of nil: storing
	actions atomic.Pointer[error] // the same of alert actions; nil: another sink copies them
	audit   atomic.Pointer[error] // the same of the audit
	keys    atomic.Pointer[error] // and of what is said of keys
}

// New makes a sink.
func New(cfg Config) *Sink {
	if cfg.BatchRows == 0 {
		cfg.BatchRows = 100_000
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = 32 << 20
	}
	if cfg.BatchWait == 0 {
		cfg.BatchWait = 100 * time.Millisecond
	}
	if cfg.InsertTimeout == 0 {
		cfg.InsertTimeout = 30 * time.Second
	}
	if cfg.RetentionEvery == 0 {
		cfg.RetentionEvery = time.Hour
	}
	if len(cfg.Servers) == 0 {
		cfg.Servers = []driver.Conn{cfg.DB}
	}
	return &Sink{cfg: cfg, log: cfg.Log.Named("sink"), metrics: newMetrics(cfg.Metrics)}
}

// Run joins the group and stores until ctx is done; then what it has read is stored. It fails with [ErrOtherLog].
func (s *Sink) Run(ctx context.Context) error {
	group := broker.Group{ID: GroupID, Topic: schema.TopicEvents, Log: s.log}
	var wait time.Duration
	for pause.For(ctx, wait) == nil {
		began := time.Now()
		if err := s.cfg.Client.RunGroup(ctx, group, s.serve); err != nil {
			if errors.Is(err, ErrOtherLog) {
				return err
			}
			s.report(err)
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

// report says whether the sink stores, for Check. What it keeps is a variable of its own: others read it meanwhile.
func (s *Sink) report(err error) { s.ready.Store(&err) }

var errNoGeneration = errors.New("not a member of the group yet")

// Check says why the sink does not store: it is no member of its group yet, or its last INSERT, of events, alert
// actions, the audit or what is said of keys, failed.
func (s *Sink) Check(context.Context) error {
	err := s.ready.Load()
	if err == nil {
		return errNoGeneration
	}
	if *err != nil {
		return *err
	}
	for _, c := range s.copies() {
		if state := c.state.Load(); state != nil && *state != nil {
			return *state
		}
	}
	return nil
}

// serve stores the partitions of one generation until it is over: recover what the last owner left open, then read all
// partitions at once and write their rows together.
func (s *Sink) serve(ctx context.Context, generation *broker.Generation) error {
	owner, positions, err := s.recover(ctx, generation)
	if err != nil {
		return err
	}
	s.report(nil)
	s.metrics.held.Set(0)
	chunks := make(chan chunk, len(generation.Partitions))
	g, reading := errgroup.WithContext(ctx)
	for _, partition := range generation.Partitions {
		g.Go(func() error {
			return s.read(reading, partition, positions[partition], s.chunkBytes(len(generation.Partitions)), chunks)
		})
	}
	g.Go(func() error { return s.write(reading, generation, owner, chunks) })
	copies := s.copies()
	for _, c := range copies {
		c.state.Store(nil)
	}
	if slices.Contains(generation.Partitions, copiesOwner) {
		for _, c := range copies {
			g.Go(func() error { return s.copy(reading, c) })
		}
		g.Go(func() error { return s.verifyNowAndThen(reading) })
		g.Go(func() error { return s.retainNowAndThen(reading) })
	}
	return g.Wait()
}

// chunk is what one verdict made of one partition, and the positions around it.
type chunk struct {
	partition     int32
	rows          []judged.Row
	bytes         int
	before, after judged.Position
}

const (
	// leastChunk is the least of bytes that a chunk is bounded to.
	leastChunk = 64 << 10
	// parts is about how often a partition's bound of bytes is in memory: what was fetched of events and of verdicts, a chunk
	// of rows in the reader's hand, one in the channel.
	parts = 4
)

// chunkBytes bounds chunks so that everything that is read and not yet in the batch takes about as much as a batch may.
func (s *Sink) chunkBytes(partitions int) int {
	return min(max(s.cfg.BatchBytes/(parts*partitions), leastChunk), judged.ChunkBytes)
}

// read hands the partition's rows to write. A full channel makes it wait: the log keeps what is not read yet.
func (s *Sink) read(ctx context.Context, partition int32, at judged.Position, limit int, chunks chan<- chunk) error {
	r := judged.NewReader(s.cfg.Client, s.cfg.Incarnation, partition, at)
	r.Limit(limit)
	for {
		before := r.Position()
		rows, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := s.noteLost(ctx, partition, before.Offset, r.Position().Offset, rows); err != nil {
			return err
		}
		if len(rows) == 0 {
			continue
		}
		c := chunk{partition: partition, rows: rows, before: before, after: r.Position()}
		for i := range rows {
			c.bytes += rows[i].Size()
		}
		s.metrics.held.Add(float64(c.bytes))
		select {
		case chunks <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write stores what comes as chunks, one INSERT at a time, until ctx is done; then what was gathered is stored.
func (s *Sink) write(ctx context.Context, generation *broker.Generation, owner uint64, chunks <-chan chunk) error {
	storing, cancel := drain(ctx)
	defer cancel()
	batches, gone := make(chan *batch), make(chan struct{})
	gathering, stop := context.WithCancel(ctx)
	var g sync.WaitGroup
	g.Go(func() { s.gather(gathering, chunks, batches, gone) })
	err := (&writer{sink: s, generation: generation, owner: owner}).run(storing, batches)
	close(gone)
	stop()
	g.Wait()
	return errors.Join(err, ctx.Err())
}

// noteLost records the offsets from from to to-1 that rows does not have.
func (s *Sink) noteLost(ctx context.Context, partition int32, from, to int64, rows []judged.Row) error {
	for i := range rows {
		if rows[i].Offset > from {
			if err := s.recordLost(ctx, partition, from, rows[i].Offset); err != nil {
				return err
			}
		}
		from = rows[i].Offset + 1
	}
	if to > from {
		return s.recordLost(ctx, partition, from, to)
	}
	return nil
}

// retryAfter is the pause after n+1 failures in a row.
func retryAfter(n int) time.Duration { return min(50*time.Millisecond<<min(n, 6), 2*time.Second) }
