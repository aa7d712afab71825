package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/broker"
	"keypulse/internal/mail"
	"keypulse/internal/pause"
	"keypulse/schema"
)

// The consumer groups: of the events, and of the notices.
const (
	RelayGroupID = "keypulse-relay"
	GroupID      = "keypulse-notifier"
)

// Config is what a notifier works with. A zero field with a default takes it.
type Config struct {
	Client      *broker.Client
	Incarnation schema.LogRecord // of the log
	Webhooks    *Webhooks        // the caller feeds these three
	Silences    *Silences
	Tags        *Tags
	Secret      Sealer // that the webhooks' credentials were sealed with
	Mail        mail.Config
	Networks    []netip.Prefix // that targets may be in beside the public Internet
	// Disable writes a webhook's record that disables it.
	Disable  func(ctx context.Context, r schema.WebhookRecord) error
	Schedule []time.Duration // waits after failed tries; default DefaultSchedule
	Delayed  time.Duration   // how late a message must be to say so; default 1 min
	// Concurrency is how many messages of a webhook may be on their way at once; one whose last try failed has one.
	// Default 4.
	Concurrency int
	// InFlight bounds the messages of this node that are on their way, for webhooks that work and again for webhooks whose
	// last try failed, so that those cannot hold the others up. What does not fit waits in the outbox. Default 512.
	InFlight int64
	// CompactAfter is how many records the outbox of a partition may have beyond four times what it needs, before it is
	// written anew and the rest deleted; default 4,000.
	CompactAfter int64
	// ProofAge is how old the proof may be that a partition is this node's for an attempt to begin; it must be shorter than
	// the group waits for a member that is silent. Default 3 s.
	ProofAge time.Duration
	Log      *zap.Logger
	Metrics  prometheus.Registerer
}

func (cfg Config) withDefaults() Config {
	if cfg.Schedule == nil {
		cfg.Schedule = DefaultSchedule
	}
	if cfg.Delayed == 0 {
		cfg.Delayed = time.Minute
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 4
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = 512
	}
	if cfg.CompactAfter == 0 {
		cfg.CompactAfter = 4000
	}
	if cfg.ProofAge == 0 {
		cfg.ProofAge = 3 * time.Second
	}
	return cfg
}

// Notifier tells this node's share of the alerts.
type Notifier struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	sender  *sender
	working budget // of messages to webhooks that work
	failing budget // of those to webhooks whose last try failed
	relays  atomic.Bool
	sends   atomic.Bool
}

// budget is a number of places.
type budget struct {
	size  int64
	taken atomic.Int64
}

func (b *budget) take() bool {
	if b.taken.Add(1) > b.size {
		b.taken.Add(-1)
		return false
	}
	return true
}

func (b *budget) give() { b.taken.Add(-1) }

// New makes a notifier.
func New(cfg Config) *Notifier {
	cfg = cfg.withDefaults()
	n := &Notifier{cfg: cfg, log: cfg.Log.Named("notifier"), sender: newSender(cfg.Secret, cfg.Mail, cfg.Networks, cfg.Delayed)}
	n.working.size, n.failing.size = cfg.InFlight, cfg.InFlight
	n.metrics = newMetrics(cfg.Metrics, n)
	return n
}

// Run relays and sends until ctx is done.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.sender.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return n.join(ctx, broker.Group{ID: RelayGroupID, Topic: schema.TopicEvents, Log: n.log}, n.cfg.Incarnation.Partitions, &n.relays, n.relay)
	})
	g.Go(func() error {
		return n.join(ctx, broker.Group{ID: GroupID, Topic: schema.TopicNotices, Log: n.log}, schema.NoticePartitions, &n.sends, n.own)
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("run notifier: %w", err)
	}
	return nil
}

// join serves the partitions of each generation, each by a goroutine of its own. One that fails begins again from the log.
func (n *Notifier) join(ctx context.Context, group broker.Group, total int32, member *atomic.Bool, serve func(context.Context, *broker.Generation, broker.Commit) error) error {
	return n.cfg.Client.RunGroup(ctx, group, func(ctx context.Context, generation *broker.Generation) error {
		member.Store(true)
		defer member.Store(false)
		g, ctx := errgroup.WithContext(ctx)
		for _, number := range generation.Partitions {
			g.Go(func() error {
				for ctx.Err() == nil {
					commits, err := generation.Committed(ctx, total)
					if err == nil {
						err = serve(ctx, generation, commits[number])
					}
					if ctx.Err() == nil && err != nil {
						n.log.Warn("a partition begins again from the log", zap.String("group", group.ID), zap.Int32("partition", number), zap.Error(err))
						n.metrics.restarts.Inc()
					}
					_ = pause.For(ctx, time.Second)
				}
				return nil
			})
		}
		return g.Wait()
	})
}

var errNoMember = errors.New("not a member of its groups yet")

// Check says why the notifier is not ready.
func (n *Notifier) Check(context.Context) error {
	if !n.relays.Load() || !n.sends.Load() {
		return errNoMember
	}
	return nil
}
