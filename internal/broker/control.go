package broker

import (
	"context"
	"sync"

	"keypulse/schema"
)

// Follower reads a control topic from its beginning and hands every record, in order, to a table in memory.
type Follower struct {
	client *Client
	topic  schema.Topic
	apply  func(Record)
	ready  chan struct{}
	once   sync.Once
}

// NewFollower makes a follower; apply is called by Run's goroutine alone.
func NewFollower(c *Client, topic schema.Topic, apply func(Record)) *Follower {
	return &Follower{client: c, topic: topic, apply: apply, ready: make(chan struct{})}
}

// Ready is closed when everything that was in the topic when Run began has been applied.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run follows the topic until ctx is done.
func (f *Follower) Run(ctx context.Context) error {
	return f.read(ctx, func(next, end int64) bool {
		if next >= end {
			f.once.Do(func() { close(f.ready) })
		}
		return false
	})
}

// ReadAll applies everything that is in the topic now and returns.
func (f *Follower) ReadAll(ctx context.Context) error {
	return f.read(ctx, func(next, end int64) bool { return next >= end })
}

// read applies records until done, called with the next offset and the end at the start, says so.
func (f *Follower) read(ctx context.Context, done func(next, end int64) bool) error {
	first, end, err := f.client.Offsets(ctx, f.topic, 0)
	if err != nil {
		return err
	}
	r := f.client.NewReader(f.topic, 0, first)
	for !done(r.Next(), end) {
		records, err := r.Fetch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		for _, record := range records {
			f.apply(record)
		}
	}
	return nil
}
