package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/judged"
	"keypulse/internal/pause"
	"keypulse/schema"
)

// Config is what a hub works with. A zero field with a default takes it.
type Config struct {
	Client      *broker.Client
	Incarnation schema.LogRecord // of the log
	// QueueBytes are the frames that may wait for one subscriber; beyond them it gets a gap. Default 1 MiB.
	QueueBytes int
	// MaxSubscribers is how many there may be; the next is refused with [ErrFull]. Default 10,000.
	MaxSubscribers int
	// MaxReplay is how many rows of the log may be read again for one subscriber; a position further back gets a gap.
	// Default 1,000,000.
	MaxReplay int64
	Linger    time.Duration // how long the log is read on after the last subscriber has left; default 30 s
	Log       *zap.Logger
	Metrics   prometheus.Registerer
}

func (cfg Config) withDefaults() Config {
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 1 << 20
	}
	if cfg.MaxSubscribers == 0 {
		cfg.MaxSubscribers = 10_000
	}
	if cfg.MaxReplay == 0 {
		cfg.MaxReplay = 1_000_000
	}
	if cfg.Linger == 0 {
		cfg.Linger = 30 * time.Second
	}
	return cfg
}

// The reasons for which [Hub.Subscribe] refuses.
var (
	ErrFull  = errors.New("as many subscribers as may be are there")
	ErrEnded = errors.New("the stream has ended")
)

// Hub reads the log for the subscribers of a node.
type Hub struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	wanted  chan struct{} // one place: there is a subscriber

	mu sync.Mutex // guards the following
	// subscribers have a queue; joined counts them and those who still replay.
	subscribers map[schema.Tenant]*audience
	joined      map[*Subscription]struct{}
	left        time.Time // when the last one left
	at          Position  // up to which the subscribers have been given rows; no partitions: the log is not read
	reading     chan struct{}
	moved       chan struct{} // closed when at has moved
	ended       bool
}

// New makes a hub that reads nothing yet.
func New(cfg Config) *Hub {
	h := &Hub{
		cfg: cfg.withDefaults(), log: cfg.Log.Named("stream"), wanted: make(chan struct{}, 1), reading: make(chan struct{}), moved: make(chan struct{}),
		subscribers: map[schema.Tenant]*audience{}, joined: map[*Subscription]struct{}{},
	}
	h.metrics = newMetrics(cfg.Metrics, h.count)
	return h
}

func (h *Hub) count() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.joined))
}

// Run reads the log whenever somebody wants it, until ctx is done.
func (h *Hub) Run(ctx context.Context) error {
	defer h.End()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wanted:
		}
		for failures := 0; h.isWanted(); failures++ {
			if err := h.read(ctx); err != nil && ctx.Err() == nil {
				h.log.Warn("cannot read the log, trying again", zap.Error(err))
			}
			if pause.For(ctx, min(100*time.Millisecond<<min(failures, 6), 5*time.Second)) != nil {
				return nil
			}
		}
	}
}

// End tells every subscriber that there will be no more, so that a server can stop. It may be called again.
func (h *Hub) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for s := range h.joined {
		s.end()
	}
}

// isWanted reports whether somebody subscribes, or did a moment ago. When not, the position is dropped: the next
// subscriber starts at the end of the log.
func (h *Hub) isWanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.joined) > 0 || !h.left.IsZero() && time.Since(h.left) < h.cfg.Linger {
		return true
	}
	if h.at.Partitions != nil {
		h.at, h.reading = Position{}, make(chan struct{})
	}
	return false
}

// chunk is what one verdict made of one partition.
type chunk struct {
	partition int32
	rows      []judged.Row
	after     judged.Position
}

// read hands rows to the subscribers until nobody wants them.
func (h *Hub) read(ctx context.Context) error {
	start, err := h.start(ctx)
	if err != nil {
		return err
	}
	chunks := make(chan chunk, len(start)) // full: readers wait, the log keeps what is not read
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	for partition := range h.cfg.Incarnation.Partitions {
		g.Go(func() error { return h.readPartition(ctx, partition, start[partition], chunks) })
	}
	g.Go(func() error {
		look := time.NewTicker(time.Second)
		defer look.Stop()
		for {
			select {
			case c := <-chunks:
				h.publish(c)
			case <-look.C:
				if !h.isWanted() {
					stop()
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (h *Hub) readPartition(ctx context.Context, partition int32, at judged.Position, chunks chan<- chunk) error {
	r := judged.NewReader(h.cfg.Client, h.cfg.Incarnation, partition, at)
	for {
		rows, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			continue
		}
		select {
		case chunks <- chunk{partition, rows, r.Position()}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start is where to read from: where the subscribers stand, or the end of the log.
func (h *Hub) start(ctx context.Context) ([]judged.Position, error) {
	h.mu.Lock()
	at := h.at.clone()
	h.mu.Unlock()
	if at.Partitions != nil {
		return at.Partitions, nil
	}
	ends := make([]judged.Position, h.cfg.Incarnation.Partitions)
	g, ctx := errgroup.WithContext(ctx)
	for partition := range h.cfg.Incarnation.Partitions {
		g.Go(func() (err error) {
			ends[partition], err = judged.End(ctx, h.cfg.Client, partition)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = Position{Partitions: ends}
	close(h.reading)
	return h.at.clone().Partitions, nil
}

// publish gives the rows of a chunk to the subscribers of their tenants.
func (h *Hub) publish(c chunk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range c.rows {
		row := &c.rows[i]
		if missed := row.Offset - h.at.Partitions[c.partition].Offset; missed > 0 {
			h.publishGap(c, row.Offset, missed)
		}
		after := judged.Position{Offset: row.Offset + 1, Verdict: c.after.Verdict}
		if of := h.subscribers[row.Tenant]; of != nil {
			var all []frame // made for the first who wants them
			of.each(row, func(s *Subscription) {
				if !s.filter.passes(row) {
					return
				}
				if all == nil {
					all = h.at.frames(row, c.partition, after, h.cfg.Incarnation.Base)
				}
				s.push(all)
			})
		}
		h.at.Partitions[c.partition] = after
	}
	h.metrics.rows.Add(float64(len(c.rows)))
	close(h.moved)
	h.moved = make(chan struct{})
}

// publishGap tells everybody that events expired before they were read.
func (h *Hub) publishGap(c chunk, offset, missed int64) {
	h.at.Partitions[c.partition] = judged.Position{Offset: offset, Verdict: c.after.Verdict}
	g := Gap{Missed: missed, AtMost: true, Reason: Expired}
	f := g.frame(h.at, h.cfg.Incarnation.Base)
	for _, of := range h.subscribers {
		of.each(nil, func(s *Subscription) { s.pushGap(g, f) })
	}
}

// Subscribe joins a tenant's stream: from a position on, nil for from now on. It waits until the log is being read. The
// caller closes the subscription.
func (h *Hub) Subscribe(ctx context.Context, tenant auth.Tenant, filter Filter, from *Position) (*Subscription, error) {
	s := &Subscription{hub: h, tenant: tenant, filter: filter, signal: make(chan struct{}, 1)}
	reading, err := h.join(s)
	if err != nil {
		return nil, err
	}
	select {
	case <-reading:
	case <-ctx.Done():
		h.leave(s)
		return nil, ctx.Err()
	}
	if from == nil {
		h.attach(s)
	} else {
		s.replay = newReplay(h, *from)
	}
	return s, nil
}

func (h *Hub) join(s *Subscription) (reading <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return nil, ErrEnded
	case len(h.joined) >= h.cfg.MaxSubscribers:
		return nil, ErrFull
	}
	h.joined[s] = struct{}{}
	select {
	case h.wanted <- struct{}{}:
	default: // Run has been told already
	}
	return h.reading, nil
}

// attach lets s have the rows from now on, and returns where that is.
func (h *Hub) attach(s *Subscription) Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.subscribers[s.tenant.Name()]
	if of == nil {
		of = &audience{ofKey: map[string][]*Subscription{}}
		h.subscribers[s.tenant.Name()] = of
	}
	of.add(s)
	return h.at.clone()
}

func (h *Hub) leave(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.joined, s)
	if len(h.joined) == 0 {
		h.left = time.Now()
	}
	if of := h.subscribers[s.tenant.Name()]; of != nil {
		if of.remove(s); of.isEmpty() {
			delete(h.subscribers, s.tenant.Name())
		}
	}
}

// position is where the subscribers stand; moved is closed when they stand elsewhere.
func (h *Hub) position() (at Position, moved <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at.clone(), h.moved
}
