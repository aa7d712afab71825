// Package lastuse lets every node know when each API key was last used, wherever: to within a minute.
//
// The invariant it keeps: what a node says is a use that was, and no use is later by more than MarkAfter, Every and the
// way through the log. A node writes only about keys whose last known use is MarkAfter ago, so a key has no more than one
// record in that time, on however many nodes it is used.
//
//	n := lastuse.New(lastuse.Config{Client: client, Keys: table, Log: log})
//	go n.Run(ctx)
//	<-n.Ready()
//	at := table.Get(id).LastUsed()
package lastuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/schema"
)

const (
	// usesInRecord bounds a record: 70 KB.
	usesInRecord = 1000
	// writeTimeout bounds what a node writes at once; the next time it writes what failed again.
	writeTimeout = 5 * time.Second
	// lastTimeout is the same when the node ends.
	lastTimeout = time.Second
)

// Config is what a node works with. A zero field with a default takes it.
type Config struct {
	Client *broker.Client
	Keys   *auth.Table // fed with the API keys by the caller
	Log    *zap.Logger
	Now    func() time.Time // default time.Now

	MarkAfter time.Duration // how much later than the known one a use is worth a record; default 30 s
	Every     time.Duration // how often a node looks for those; default 5 s
	// Records is how many the topic may hold, beside one for each 250 API keys: then a node writes all that is known and deletes what was
	// before. Default 1,000.
	Records int64
}

// Node is this process's part.
type Node struct {
	cfg   Config
	ready chan struct{}
	once  sync.Once
}

// New makes a node.
func New(cfg Config) *Node {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MarkAfter == 0 {
		cfg.MarkAfter = 30 * time.Second
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Records == 0 {
		cfg.Records = 1000
	}
	return &Node{cfg: cfg, ready: make(chan struct{})}
}

// Ready is closed when everything that was in the topic has been read.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Run reads and writes until ctx is done, and then writes what nobody knows yet. Where a part of the topic is gone, it goes
// on with what is there: that tells all that was known.
func (n *Node) Run(ctx context.Context) error {
	for {
		err := n.follow(ctx)
		if ctx.Err() != nil {
			n.write(context.WithoutCancel(ctx), n.cfg.Keys.Untold(0), lastTimeout)
			return ctx.Err()
		}
		if !errors.As(err, new(*broker.OffsetGoneError)) {
			return err
		}
	}
}

func (n *Node) follow(ctx context.Context) error {
	first, end, err := n.cfg.Client.Offsets(ctx, schema.TopicUses, 0)
	if err != nil {
		return err
	}
	looked := n.cfg.Now()
	for r := n.cfg.Client.NewReader(schema.TopicUses, 0, first); ; {
		if r.Next() >= end {
			n.once.Do(func() { close(n.ready) })
		}
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range records {
			if err := n.cfg.Keys.ApplyUses(records[i].Offset, records[i].Key, records[i].Value); err != nil {
				n.cfg.Log.Warn("a control record changes nothing", zap.String("topic", string(schema.TopicUses)), zap.Error(err))
			}
		}
		if now := n.cfg.Now(); now.Sub(looked) >= n.cfg.Every {
			looked = now
			n.write(ctx, n.cfg.Keys.Untold(n.cfg.MarkAfter), writeTimeout)
			if err := n.shorten(ctx, &first, r.Next()); err != nil {
				return err
			}
		}
	}
}

// write tells the log of uses. What fails is untold as before.
func (n *Node) write(ctx context.Context, uses map[string]schema.Millis, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(uses)), usesInRecord) {
		r := schema.UsesRecord{Uses: make(map[string]schema.Millis, len(ids))}
		for _, id := range ids {
			r.Uses[id] = uses[id]
		}
		if err := n.append(ctx, r); err != nil {
			n.cfg.Log.Warn("cannot tell when API keys were used", zap.Int("keys", len(uses)), zap.Error(err))
			return false
		}
	}
	return true
}

func (n *Node) append(ctx context.Context, r schema.UsesRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode uses: %w", err)
	}
	a := broker.NewAppend(n.cfg.Client, schema.TopicUses, 0, broker.DefaultProducerConfig())
	_, err = a.Records(ctx, broker.Record{Value: value, Time: schema.MillisOf(n.cfg.Now())})
	return err
}

// shorten deletes everything below next, which this node has read, once it has written all that it knows behind it. Several
// nodes may do so at once: each says all that it deletes. first is where the topic begins, as far as the node knows.
func (n *Node) shorten(ctx context.Context, first *int64, next int64) (err error) {
	all := n.cfg.Keys.Uses()
	most := n.cfg.Records + int64(len(all)/(usesInRecord/4))
	if next-*first <= most {
		return nil
	}
	if *first, _, err = n.cfg.Client.Offsets(ctx, schema.TopicUses, 0); err != nil || next-*first <= most {
		return err // another node has shortened it
	}
	if !n.write(ctx, all, writeTimeout) {
		return nil
	}
	if err := n.cfg.Client.DeleteBefore(ctx, schema.TopicUses, 0, next); err != nil && ctx.Err() == nil {
		n.cfg.Log.Warn("cannot shorten the topic of API keys' uses", zap.Error(err))
	}
	*first = next // where it failed, it is tried again when the topic has grown as much again
	return nil
}
