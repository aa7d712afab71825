package signup

import (
	"context"
	"fmt"
	"sync"

	"keypulse/schema"
)

// Book is the links that were used: what [schema.TopicSignups] says. One goroutine applies records; any number read.
type Book struct {
	mu sync.RWMutex
	// guards the following
	rev       int64
	grown     chan struct{} // closed at every record
	links     map[string]schema.SignupRecord
	addresses map[string]int // tenants by address
}

// NewBook makes an empty book.
func NewBook() *Book {
	return &Book{grown: make(chan struct{}), links: map[string]schema.SignupRecord{}, addresses: map[string]int{}}
}

// Apply takes the record at offset into the book. One that does not make its link's next version changes nothing.
func (b *Book) Apply(offset int64, key, value []byte) error {
	r, err := schema.DecodeControl[schema.SignupRecord](value)
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.links[r.ID]; err == nil && r.Version == last.Version+1 && r.ID == string(key) {
		b.links[r.ID] = r
		if r.Version == 1 {
			b.addresses[r.Address]++
		}
	}
	b.rev = offset + 1
	close(b.grown)
	b.grown = make(chan struct{})
	return err
}

func (b *Book) used(id string) (schema.SignupRecord, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r, ok := b.links[id]
	return r, ok
}

// tenants is how many an address has made.
func (b *Book) tenants(address string) int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.addresses[address]
}

// wait returns when everything below rev has been applied, or ctx's error.
func (b *Book) wait(ctx context.Context, rev int64) error {
	for {
		b.mu.RLock()
		done, grown := b.rev >= rev, b.grown
		b.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("wait for sign-ups up to %d: %w", rev, context.Cause(ctx))
		}
	}
}
