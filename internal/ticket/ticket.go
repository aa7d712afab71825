// Package ticket lets each ticket of the stream open it once, over all nodes.
//
// The invariant it keeps: of all attempts to use a ticket, on whatever nodes, at most one succeeds: the one whose record
// is the first about that ticket in the topic. A ticket itself is signed and made without a record (package auth), so
// only used ones cost anything.
//
//	book := ticket.New(ticket.Config{Client: client, Log: log})
//	go book.Run(ctx)
//	err := book.Use(ctx, t) // t from auth.Table.LookupTicket
package ticket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/schema"
)

// errMany says that as many used tickets are remembered as may be.
var errMany = errors.New("too many tickets are used at once")

const (
	// useTimeout bounds an attempt. What is under way when it is up has used the ticket all the same.
	useTimeout = 5 * time.Second
	// maxUsed bounds the used tickets that are remembered, 100 bytes each; beyond it no more are taken until some have
	// ended, which they do in 30 seconds.
	maxUsed = 200_000
)

// Config is what a book works with.
type Config struct {
	Client *broker.Client
	Log    *zap.Logger
	Now    func() time.Time // default time.Now
}

// Book is the tickets that have been used and have not ended.
type Book struct {
	cfg Config

	mu    sync.Mutex // guards the following
	used  map[string]string
	order []schema.TicketRecord // of used, as in the log
	next  int64                 // the offset that is read next
	grown chan struct{}         // closed when next has grown
}

// New makes a book.
func New(cfg Config) *Book {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Book{cfg: cfg, used: map[string]string{}, grown: make(chan struct{})}
}

// Run reads which tickets are used until ctx is done. Where a part of the topic is gone, which happens to a node that slept
// for an hour, it goes on with what is there: those tickets have ended.
func (b *Book) Run(ctx context.Context) error {
	for {
		err := b.read(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.As(err, new(*broker.OffsetGoneError)) {
			return err
		}
	}
}

func (b *Book) read(ctx context.Context) error {
	first, _, err := b.cfg.Client.Offsets(ctx, schema.TopicTickets, 0)
	if err != nil {
		return err
	}
	for r := b.cfg.Client.NewReader(schema.TopicTickets, 0, first); ; {
		records, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		b.apply(records, r.Next())
	}
}

func (b *Book) apply(records []broker.Record, next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.forget()
	for i := range records {
		r, err := schema.DecodeControl[schema.TicketRecord](records[i].Value)
		if err != nil {
			b.cfg.Log.Warn("a record about a ticket changes nothing", zap.Int64("offset", records[i].Offset), zap.Error(err))
			continue
		}
		if _, taken := b.used[r.Ticket]; !taken && r.Ends > now {
			b.used[r.Ticket] = r.By
			b.order = append(b.order, r)
		}
	}
	if next > b.next {
		b.next = next
		close(b.grown)
		b.grown = make(chan struct{})
	}
}

// forget drops the tickets that have ended by now, which it returns.
func (b *Book) forget() schema.Millis {
	now := schema.MillisOf(b.cfg.Now())
	for len(b.order) > 0 && b.order[0].Ends <= now {
		delete(b.used, b.order[0].Ticket)
		b.order = b.order[1:]
	}
	return now
}

// Use uses a ticket. It returns [auth.ErrTicketUsed] when it was used before, by whomever; after any other error it may be used or not.
func (b *Book) Use(ctx context.Context, t auth.Ticket) error {
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	if by, count := b.look(t.Nonce); by != "" {
		return auth.ErrTicketUsed
	} else if count >= maxUsed {
		return errMany
	}
	r := schema.TicketRecord{Ticket: t.Nonce, By: uuid.NewString(), Ends: t.Ends}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode ticket record: %w", err)
	}
	a := broker.NewAppend(b.cfg.Client, schema.TopicTickets, 0, broker.DefaultProducerConfig())
	offset, err := a.Records(ctx, broker.Record{Key: []byte(r.Ticket), Value: value, Time: schema.MillisOf(b.cfg.Now())})
	if err != nil {
		return fmt.Errorf("use ticket: %w", err)
	}
	if err := b.wait(ctx, offset+1); err != nil {
		return fmt.Errorf("use ticket: %w", err)
	}
	// A ticket that has ended meanwhile is forgotten, and used is all that anybody needs to know of it.
	if by, _ := b.look(t.Nonce); by != r.By {
		return auth.ErrTicketUsed
	}
	return nil
}

// look returns the attempt that has used a ticket, "" for none, and how many tickets are remembered.
func (b *Book) look(nonce string) (by string, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget() // while the book is full nobody writes, so no record comes that would have it forget
	return b.used[nonce], len(b.used)
}

// wait returns when everything below an offset has been read.
func (b *Book) wait(ctx context.Context, next int64) error {
	for {
		b.mu.Lock()
		done, grown := b.next >= next, b.grown
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
