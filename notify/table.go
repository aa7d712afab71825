package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"keypulse/schema"
)

// ErrStale says that a record does not make the version after the current one, so that everyone ignores it.
var ErrStale = errors.New("record is stale")

// Versioned is the current version of something, and where its record stands.
type Versioned[R any] struct {
	Record R
	Offset int64
}

// Table is what a control topic says of each tenant's things: the last version of each counts. One goroutine applies
// records; any number read. What was deleted stays, so that its id is not given again.
type Table[R any] struct {
	decode func(key, value []byte) (R, error)
	head   func(R) head

	mu sync.RWMutex
	// guards the following
	rev     int64
	grown   chan struct{} // closed at every record
	tenants map[schema.Tenant]map[string]Versioned[R]
}

type head struct {
	tenant  schema.Tenant
	id      string
	version int64
}

func newTable[R any](decode func(key, value []byte) (R, error), of func(R) head) *Table[R] {
	return &Table[R]{decode: decode, head: of, grown: make(chan struct{}), tenants: map[schema.Tenant]map[string]Versioned[R]{}}
}

// Webhooks are the tenants' webhooks.
type Webhooks = Table[schema.WebhookRecord]

// NewWebhooks makes an empty table for [schema.TopicWebhooks].
func NewWebhooks() *Webhooks {
	return newTable(schema.DecodeWebhook, func(r schema.WebhookRecord) head { return head{r.Tenant, r.ID, r.Version} })
}

// Silences are the tenants' silences.
type Silences = Table[schema.SilenceRecord]

// NewSilences makes an empty table for [schema.TopicSilences].
func NewSilences() *Silences {
	return newTable(schema.DecodeSilence, func(r schema.SilenceRecord) head { return head{r.Tenant, r.ID, r.Version} })
}

// Apply takes the record at offset into the table, in log order. One that is stale or cannot be read changes nothing but
// the revision; the error says why.
func (t *Table[R]) Apply(offset int64, key, value []byte) error {
	r, err := t.decode(key, value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		err = t.put(r, offset)
	}
	t.rev = offset + 1
	close(t.grown)
	t.grown = make(chan struct{})
	if err != nil {
		return fmt.Errorf("apply record %d: %w", offset, err)
	}
	return nil
}

func (t *Table[R]) put(r R, offset int64) error {
	h := t.head(r)
	of := t.tenants[h.tenant]
	if of == nil {
		of = map[string]Versioned[R]{}
	}
	last := int64(0)
	if old, ok := of[h.id]; ok {
		last = t.head(old.Record).version
	}
	if h.version != last+1 {
		return fmt.Errorf("version %d of %s, current is %d: %w", h.version, h.id, last, ErrStale)
	}
	of[h.id] = Versioned[R]{r, offset}
	t.tenants[h.tenant] = of
	return nil
}

// Rev is how far the topic has been read: the next record's offset.
func (t *Table[R]) Rev() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rev
}

// Wait returns when everything below rev has been applied, or ctx's error.
func (t *Table[R]) Wait(ctx context.Context, rev int64) error {
	for {
		t.mu.RLock()
		done, grown := t.rev >= rev, t.grown
		t.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("wait for records up to %d: %w", rev, context.Cause(ctx))
		}
	}
}

// Get returns a tenant's thing, false where there never was one with this id.
func (t *Table[R]) Get(tenant schema.Tenant, id string) (Versioned[R], bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.tenants[tenant][id]
	return v, ok
}

// Of returns all of a tenant's things, also deleted ones, in the order of their ids.
func (t *Table[R]) Of(tenant schema.Tenant) []Versioned[R] {
	t.mu.RLock()
	all := slices.Collect(maps.Values(t.tenants[tenant]))
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b Versioned[R]) int { return cmp.Compare(t.head(a.Record).id, t.head(b.Record).id) })
	return all
}

// Tags are the tags of keys, by which webhooks and silences choose. It holds keys that have any.
type Tags struct {
	mu sync.RWMutex
	// guards the following
	versions map[string]int64 // by the record's key
	tags     map[string][]string
}

// NewTags makes an empty table for [schema.TopicKeys].
func NewTags() *Tags { return &Tags{versions: map[string]int64{}, tags: map[string][]string{}} }

// Apply takes what an owner says of a key into the table.
func (t *Tags) Apply(_ int64, key, value []byte) error {
	r, err := schema.DecodeKeyRecord(key, value)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	name := string(key)
	if r.Version != t.versions[name]+1 {
		return fmt.Errorf("key %q: %w", r.KeyID, ErrStale)
	}
	t.versions[name] = r.Version
	if delete(t.tags, name); len(r.Tags) > 0 {
		t.tags[name] = r.Tags
	}
	return nil
}

// of are the tags of a key.
func (t *Tags) of(tenant schema.Tenant, keyID string) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.tags[string(schema.RecordKey(tenant, keyID))]
}
