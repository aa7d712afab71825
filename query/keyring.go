package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// Keyring is what owners say of their keys: the current version of each record of keypulse.keys. It is fed record by
// record ([Keyring.Apply], one caller) and read by any number of goroutines.
type Keyring struct {
	max int // schema.MaxDescribed

	mu sync.RWMutex
	// guards the following
	rev     int64         // offset of the next record to read
	grown   chan struct{} // closed at every record
	tenants map[schema.Tenant]*ownKeys
}

// ownKeys is the described keys of one tenant.
type ownKeys struct {
	byID   map[string]*described
	byName []*described // the same by name, then key_id; nil after a change, and its array never changes
}

// described is one key's record; it never changes.
type described struct {
	schema.KeyRecord
	offset int64
}

// NewKeyring returns an empty keyring that expects the topic's first record.
func NewKeyring() *Keyring {
	return &Keyring{max: schema.MaxDescribed, grown: make(chan struct{}), tenants: map[schema.Tenant]*ownKeys{}}
}

// The reasons for which a record of the keys' topic changes nothing.
var (
	errStaleKey = errors.New("it does not replace the current version")
	errKeyLimit = errors.New("the tenant has described as many keys as it may")
)

// Apply reads the record at offset, in log order. One that is stale, malformed or over the limit changes nothing but
// the revision; the error says why.
func (k *Keyring) Apply(offset int64, key, value []byte) error {
	r, err := schema.DecodeKeyRecord(key, value)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		err = k.put(&described{r, offset})
	}
	k.rev = offset + 1
	close(k.grown)
	k.grown = make(chan struct{})
	if err != nil {
		return fmt.Errorf("apply key record %d: %w", offset, err)
	}
	return nil
}

// put makes d the current record of its key. The caller holds the lock.
func (k *Keyring) put(d *described) error {
	t := k.tenants[d.Tenant]
	if t == nil {
		t = &ownKeys{byID: map[string]*described{}}
	}
	last, known := t.byID[d.KeyID]
	current := int64(0)
	if known {
		current = last.Version
	}
	switch {
	case d.Version != current+1:
		return fmt.Errorf("version %d of key %q, current is %d: %w", d.Version, d.KeyID, current, errStaleKey)
	case !known && len(t.byID) >= k.max:
		return fmt.Errorf("key %q: %w", d.KeyID, errKeyLimit)
	}
	t.byID[d.KeyID], t.byName = d, nil
	k.tenants[d.Tenant] = t
	return nil
}

// wait blocks until everything below rev has been applied, or ctx ends.
func (k *Keyring) wait(ctx context.Context, rev int64) error {
	for {
		k.mu.RLock()
		done, grown := k.rev >= rev, k.grown
		k.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("wait for keys up to %d: %w", rev, context.Cause(ctx))
		}
	}
}

// get returns what is said of a key, nil when nothing is.
func (k *Keyring) get(tenant auth.Tenant, keyID string) *described {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if t := k.tenants[tenant.Name()]; t != nil {
		return t.byID[keyID]
	}
	return nil
}

// fits says whether a tenant may describe one more key.
func (k *Keyring) fits(tenant auth.Tenant) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	t := k.tenants[tenant.Name()]
	return t == nil || len(t.byID) < k.max
}

// after returns the first n described keys behind a place that match, by name, then key_id; n 0 is all of them.
func (k *Keyring) after(tenant auth.Tenant, at keyPlace, n int, match func(*described) bool) []*described {
	var found []*described
	sorted := k.sorted(tenant)
	first := sort.Search(len(sorted), func(i int) bool { return at.compare(sorted[i].place()) < 0 })
	for _, d := range sorted[first:] {
		if match(d) {
			found = append(found, d)
		}
		if n > 0 && len(found) == n {
			break
		}
	}
	return found
}

// sorted returns a tenant's described keys in their order.
func (k *Keyring) sorted(tenant auth.Tenant) []*described {
	k.mu.RLock()
	t := k.tenants[tenant.Name()]
	if t == nil || t.byName != nil {
		defer k.mu.RUnlock()
		if t == nil {
			return nil
		}
		return t.byName
	}
	k.mu.RUnlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.byName == nil {
		t.byName = slices.SortedFunc(maps.Values(t.byID), func(a, b *described) int { return a.place().compare(b.place()) })
	}
	return t.byName
}

// keyPlace is where a key stands in the list of keys: by name, then key_id, in the order of their bytes.
type keyPlace struct{ name, keyID string }

func (p keyPlace) compare(other keyPlace) int {
	if c := strings.Compare(p.name, other.name); c != 0 {
		return c
	}
	return strings.Compare(p.keyID, other.keyID)
}

func (d *described) place() keyPlace { return keyPlace{d.Name, d.KeyID} }
