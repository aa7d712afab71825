package auth

import (
	"fmt"
	"sync/atomic"
	"time"

	"keypulse/schema"
)

// noteEvery is how exactly a node knows when an API key was last used: most uses then only read.
const noteEvery = time.Second

// use is when an API key was last used. All versions of the key share it.
type use struct {
	here atomic.Int64 // on this node, in milliseconds
	told atomic.Int64 // on all nodes, as far as the log says
}

func (u *use) note(now time.Time) {
	at := now.UnixMilli()
	if at-u.here.Load() >= noteEvery.Milliseconds() {
		u.here.Store(at) // of several at once any is right to a second
	}
}

func (u *use) last() schema.Millis { return schema.Millis(max(u.here.Load(), u.told.Load())) }

// LastUsed is when the API key last let somebody in, as far as this node knows; 0: never.
func (e *Entry) LastUsed() schema.Millis { return e.used.last() }

// use returns when the API key with an id was used. The caller holds mu.
func (t *Table) use(id string) *use {
	u := t.uses[id]
	if u == nil {
		u = &use{}
		t.uses[id] = u
	}
	return u
}

// Untold returns the uses on this node that the log does not tell, or only one that was so much earlier.
func (t *Table) Untold(after time.Duration) map[string]schema.Millis {
	return t.usesWhere(func(u *use) bool { return u.here.Load()-u.told.Load() >= max(after.Milliseconds(), 1) })
}

// Uses returns the last uses of all API keys that have one.
func (t *Table) Uses() map[string]schema.Millis {
	return t.usesWhere(func(u *use) bool { return u.last() > 0 })
}

func (t *Table) usesWhere(match func(*use) bool) map[string]schema.Millis {
	t.mu.RLock()
	defer t.mu.RUnlock()
	found := map[string]schema.Millis{}
	for id, u := range t.uses {
		if match(u) {
			found[id] = u.last()
		}
	}
	return found
}

// ApplyUses takes a [schema.UsesRecord] into the table. In whatever order they come, and how often, the latest use counts.
func (t *Table) ApplyUses(offset int64, _, value []byte) error {
	r, err := schema.DecodeControl[schema.UsesRecord](value)
	if err != nil {
		return fmt.Errorf("apply uses at offset %d: %w", offset, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, at := range r.Uses {
		u := t.use(id)
		u.told.Store(max(u.told.Load(), int64(at)))
	}
	return nil
}
