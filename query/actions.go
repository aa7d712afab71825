package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/pause"
	"keypulse/schema"
)

const (
	// maxHeld bounds the actions that a node holds because the sink has not stored them yet. When it is reached, the node
	// reads no further and takes no new ones: a comment has up to 4 KB, so it is 44 MB at the worst.
	maxHeld = 10_000
	// storedEvery is how often a node that holds actions looks which of them are stored.
	storedEvery = time.Second
)

// Actions is what people have done with alerts and ClickHouse may not know yet: the end of keypulse.alert_actions. One
// goroutine feeds it ([Actions.Follow]); any number read.
//
// Every action below rev is in ClickHouse or in held, so whoever takes the stored ones below a rev and the held ones of
// the same moment has them all: a view.
type Actions struct {
	max int // maxHeld

	mu sync.RWMutex
	// guards the following
	ready bool // everything that was in the topic at the start has been read
	rev   int64
	held  []heldAction  // by rising offset
	grown chan struct{} // closed at every change
}

type heldAction struct {
	offset int64
	schema.AlertActionRecord
}

// NewActions makes an empty table; who asks it waits until it is fed.
func NewActions() *Actions { return &Actions{max: maxHeld, grown: make(chan struct{})} }

// noActions is for a node that nobody feeds: there are none.
func noActions() *Actions {
	a := NewActions()
	a.setReady()
	return a
}

// change runs f under the lock and wakes all who wait.
func (a *Actions) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.grown)
	a.grown = make(chan struct{})
}

func (a *Actions) setReady() { a.change(func() { a.ready = true }) }

// apply reads the record at offset, in log order. One that cannot be decoded changes nothing but the revision; one that
// the sink has stored before this node has read it changes nothing at all.
func (a *Actions) apply(offset int64, key, value []byte) error {
	r, err := schema.DecodeAlertAction(key, value)
	a.change(func() {
		if offset < a.rev {
			return
		}
		a.rev = offset + 1
		if err == nil {
			a.held = append(a.held, heldAction{offset, r})
		}
	})
	if err != nil {
		return fmt.Errorf("apply alert action %d: %w", offset, err)
	}
	return nil
}

// stored lets go of what is in ClickHouse: everything below rev.
func (a *Actions) stored(rev int64) {
	a.change(func() {
		i := 0
		for i < len(a.held) && a.held[i].offset < rev {
			i++
		}
		a.held = append([]heldAction(nil), a.held[i:]...)
		a.rev = max(a.rev, rev)
	})
}

// holds is how many actions the node holds.
func (a *Actions) holds() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.held)
}

// full says that no more are taken until the sink has stored some.
func (a *Actions) full() bool { return a.holds() >= a.max }

// view returns all of a tenant's actions as of now, once everything below rev has been read.
func (a *Actions) view(ctx context.Context, tenant auth.Tenant, rev int64) (actionsView, error) {
	for {
		v, done, grown := a.now(tenant, rev)
		if done {
			return v, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return v, fmt.Errorf("wait for alert actions up to %d: %w", rev, context.Cause(ctx))
		}
	}
}

// now returns the view when it is done: when everything below rev has been read. Otherwise grown tells when to ask again.
func (a *Actions) now(tenant auth.Tenant, rev int64) (v actionsView, done bool, grown <-chan struct{}) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if !a.ready || a.rev < rev {
		return v, false, a.grown
	}
	v.rev = a.rev
	for _, h := range a.held {
		if tenant.Owns(h.Tenant) {
			v.held = append(v.held, h)
		}
	}
	return v, true, a.grown
}

// errFollowing is why a node cannot say yet in which state alerts are.
var errFollowing = errors.New("the alert actions have not been read yet")

func (a *Actions) check() error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if !a.ready {
		return errFollowing
	}
	return nil
}

// Follow feeds the table from the topic, beginning with what ClickHouse does not hold, until ctx is done.
func (a *Actions) Follow(ctx context.Context, c *broker.Client, db driver.Conn, log *zap.Logger) error {
	stored, err := awaitStored(ctx, db, log)
	if err != nil {
		return err
	}
	_, end, err := c.Offsets(ctx, schema.TopicAlertActions, 0)
	if err != nil {
		return err
	}
	a.stored(stored)
	looked := time.Now()
	for r := c.NewReader(schema.TopicAlertActions, 0, stored); ; {
		if r.Next() >= end && a.check() != nil {
			a.setReady()
		}
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range records {
			if err := a.apply(records[i].Offset, records[i].Key, records[i].Value); err != nil {
				log.Warn("a control record changes nothing", zap.String("topic", string(schema.TopicAlertActions)), zap.Error(err))
			}
		}
		if looked, err = a.letGo(ctx, db, log, looked); err != nil {
			return err
		}
	}
}

// letGo lets go of what is stored by now. It looks once a second, and returns when there is room for more.
func (a *Actions) letGo(ctx context.Context, db driver.Conn, log *zap.Logger, looked time.Time) (time.Time, error) {
	for a.holds() > 0 {
		wait := storedEvery - time.Since(looked)
		if wait > 0 && !a.full() {
			break
		}
		if err := pause.For(ctx, wait); err != nil {
			return looked, err
		}
		looked = time.Now()
		stored, err := storedActions(ctx, db)
		if err != nil {
			log.Warn("cannot see which alert actions are stored", zap.Error(err))
			continue
		}
		a.stored(stored)
	}
	return looked, nil
}

// awaitStored is storedActions, tried again while ClickHouse does not answer.
func awaitStored(ctx context.Context, db driver.Conn, log *zap.Logger) (int64, error) {
	for {
		stored, err := storedActions(ctx, db)
		if err == nil {
			return stored, nil
		}
		log.Warn("cannot see which alert actions are stored", zap.Error(err))
		if err := pause.For(ctx, storedEvery); err != nil {
			return 0, err
		}
	}
}

// storedActions is the offset below which every action is in ClickHouse: the sink stores them in their order.
func storedActions(ctx context.Context, db driver.Conn) (int64, error) {
	var next uint64
	err := db.QueryRow(ctx, "SELECT if(count() = 0, 0, max(kafka_offset) + 1) FROM alert_actions").Scan(&next)
	if err != nil {
		return 0, fmt.Errorf("read the last stored alert action: %w", err)
	}
	return int64(next), nil
}
