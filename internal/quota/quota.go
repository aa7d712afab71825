// Package quota lets the rate limits of API keys hold over all nodes: it carries what nodes tell each other
// ([auth.Share]) through a topic of one partition.
//
// The invariant it keeps: records are applied in the order of the log, and a record of this node is written only when the
// one before it has been read back or is lost for good.
//
//	n := quota.New(quota.Config{Client: client, Log: log, Metrics: registry})
//	go n.Run(ctx)
//	<-n.Ready()
//	d := n.Take(id, limit, 1, time.Now())
package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/pause"
	"keypulse/schema"
)

const (
	// oldAfter is how old the log's last record must be for a node that joins to say that nobody holds anything: far
	// beyond what clocks differ by, since this alone compares two of them.
	oldAfter = 2 * time.Minute
	// tickEvery is how often the node looks what it needs no more.
	tickEvery = time.Second
	// keepFor is how long records are kept: several times what a node needs to say again all that it holds.
	keepFor = 3 * time.Minute
	// retryAfter is the pause after a record that may not be in the log.
	retryAfter = 200 * time.Millisecond
	// leaveTimeout bounds the last record.
	leaveTimeout = time.Second
)

// Config is what a node works with.
type Config struct {
	Client  *broker.Client
	Log     *zap.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // default time.Now
}

// Node is this process's part in the limits.
type Node struct {
	cfg     Config
	limiter *auth.Limiter
	share   *auth.Share
	ready   chan struct{}
	once    sync.Once
	marks   []mark // of the reader
}

// mark is how far the reader was at a time.
type mark struct {
	at     time.Time
	offset int64
}

// New makes a node. Until it is ready it counts for itself.
func New(cfg Config) *Node {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	limiter := auth.NewLimiter()
	n := &Node{cfg: cfg, limiter: limiter, share: auth.NewShare(limiter), ready: make(chan struct{})}
	n.metrics()
	return n
}

// Take asks for n requests of an API key's limit: see [auth.Limiter.Take].
func (n *Node) Take(id string, limit, requests int, now time.Time) auth.Decision {
	return n.limiter.Take(id, limit, requests, now)
}

// Ready is closed when the log has heard of the node, so that it counts together with the others.
func (n *Node) Ready() <-chan struct{} { return n.ready }

func (n *Node) metrics() {
	if n.cfg.Metrics == nil {
		return
	}
	gauge := func(name, help string, f func(auth.Counts) float64) {
		n.cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			return f(n.share.Counts(n.cfg.Now()))
		}))
	}
	counter := func(name, help string, f func(auth.Counts) float64) {
		n.cfg.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 {
			return f(n.share.Counts(n.cfg.Now()))
		}))
	}
	gauge("keypulse_quota_nodes", "Nodes that share the rate limits, as this one knows.", func(c auth.Counts) float64 { return float64(c.Nodes) })
	gauge("keypulse_quota_fresh", "1 while this node counts together with the others, 0 while it counts for itself.", func(c auth.Counts) float64 {
		if c.Fresh {
			return 1
		}
		return 0
	})
	counter("keypulse_quota_alone_total", "Requests whose rate limit this node decided without the log.", func(c auth.Counts) float64 { return float64(c.Alone) })
	counter("keypulse_quota_waits_total", "Requests that waited for the log to decide their rate limit.", func(c auth.Counts) float64 { return float64(c.Waits) })
}

// Run shares until ctx is done, and then gives back what the node holds.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.read(ctx) })
	g.Go(func() error { return n.write(ctx) })
	return g.Wait()
}

// read applies the log. Where a part of it is missing, which happens to a node that slept for minutes, it begins anew.
func (n *Node) read(ctx context.Context) error {
	for {
		err := n.readFrom(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.As(err, new(*broker.OffsetGoneError)) {
			return err
		}
		n.cfg.Log.Warn("a part of the rate limits' log is gone, reading it again", zap.Error(err))
		n.share.Restart()
	}
}

func (n *Node) readFrom(ctx context.Context) error {
	first, end, err := n.cfg.Client.Offsets(ctx, schema.TopicQuota, 0)
	if err != nil {
		return err
	}
	var last schema.Millis
	joined := false
	n.marks = nil
	for r := n.cfg.Client.NewReader(schema.TopicQuota, 0, first); ; {
		if !joined && r.Next() >= end {
			joined = true
			n.share.Join(n.cfg.Now().Sub(last.Time()) > oldAfter, r.Next())
		}
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range records {
			last = records[i].Time
			n.apply(&records[i])
		}
		if n.share.Joined() {
			n.once.Do(func() { close(n.ready) })
		}
		n.trim(ctx, r.Next())
	}
}

func (n *Node) apply(r *broker.Record) {
	record, err := schema.DecodeControl[schema.QuotaRecord](r.Value)
	if err != nil {
		n.cfg.Log.Warn("a record of the rate limits' log changes nothing", zap.Int64("offset", r.Offset), zap.Error(err))
	}
	n.share.Apply(r.Offset, record, n.cfg.Now())
}

// trim deletes what nobody needs any more; the eldest node does it.
func (n *Node) trim(ctx context.Context, next int64) {
	now := n.cfg.Now()
	if k := len(n.marks); k > 0 && now.Sub(n.marks[k-1].at) < keepFor/3 {
		return
	}
	n.marks = append(n.marks, mark{now, next})
	if oldest := n.marks[0]; now.Sub(oldest.at) >= keepFor {
		n.marks = n.marks[1:]
		if !n.share.Eldest() {
			return
		}
		if err := n.cfg.Client.DeleteBefore(ctx, schema.TopicQuota, 0, oldest.offset); err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("cannot shorten the rate limits' log", zap.Error(err))
		}
	}
}

// write writes this node's records, one at a time.
func (n *Node) write(ctx context.Context) error {
	a := broker.NewAppend(n.cfg.Client, schema.TopicQuota, 0, broker.DefaultProducerConfig())
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.share.Kick():
		case <-tick.C:
			n.share.Tick(n.cfg.Now())
		case <-ctx.Done():
			return n.leave(ctx)
		}
		r, ok := n.share.Next(n.cfg.Now())
		if !ok {
			continue
		}
		if err := n.append(ctx, a, r); err != nil {
			n.share.Lost()
			n.cfg.Log.Warn("cannot write to the rate limits' log", zap.Error(err))
			if pause.For(ctx, retryAfter) != nil {
				return n.leave(ctx)
			}
		}
	}
}

func (n *Node) append(ctx context.Context, a *broker.Append, r schema.QuotaRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode quota record: %w", err)
	}
	_, err = a.Records(ctx, broker.Record{Key: []byte(r.Node), Value: value, Time: schema.MillisOf(n.cfg.Now())})
	return err
}

// leave writes the last record. Where that fails the others find out by the node's silence.
func (n *Node) leave(ctx context.Context) error {
	if !n.share.Joined() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	a := broker.NewAppend(n.cfg.Client, schema.TopicQuota, 0, broker.DefaultProducerConfig())
	if err := n.append(ctx, a, n.share.Leave(n.cfg.Now())); err != nil {
		n.cfg.Log.Info("the rate limits' log does not know that this node ends", zap.Error(err))
	}
	return nil
}
