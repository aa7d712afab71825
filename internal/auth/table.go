package auth

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keypulse/schema"
)

// Errors of [Table.Lookup] and [Table.Apply].
var (
	// ErrUnknown says that what was presented is no API key that exists: missing, malformed or unknown, all alike.
	ErrUnknown = errors.New("api key is unknown")
	// ErrRefused says that the API key exists and opens nothing: it is wrapped with the reason, for the log.
	ErrRefused = errors.New("api key is refused")
	// ErrOtherSecret says that API keys were made with another secret than the table's, so that all uses of them are
	// ErrUnknown.
	ErrOtherSecret = errors.New("this secret file is not the one that the installation's API keys were made with")
	// ErrStale says that a record does not make the version after the current one, so that everyone ignores it.
	ErrStale = errors.New("record is stale")
)

var (
	errInactive = fmt.Errorf("%w: inactive", ErrRefused)
	errRevoked  = fmt.Errorf("%w: revoked", ErrRefused)
	errExpired  = fmt.Errorf("%w: expired", ErrRefused)
	errRotated  = fmt.Errorf("%w: rotated, and the overlap is over", ErrRefused)
)

// shardCount makes the copy of one shard small: 100,000 keys are 25 in each.
const shardCount = 4096

// Table is all API keys, in memory. One goroutine applies the control topic's records in log order; any number look
// keys up meanwhile, without a lock.
type Table struct {
	secret *Secret
	rev    atomic.Int64
	// shards finds entries by digest. A shard's map is never changed, only replaced.
	shards [shardCount]atomic.Pointer[map[Digest]*Entry]

	mu sync.RWMutex // guards the following
	// byID is for people and for Apply; requests never touch it.
	byID map[string]*Entry
	// uses are by the API keys' ids, also of keys that have not been read yet.
	uses map[string]*use
	// grown is closed when rev has grown; nil while nobody waits.
	grown chan struct{}
}

// Entry is one version of an API key. It never changes. It opens nothing by itself: see [Table.Lookup].
type Entry struct {
	Record schema.APIKeyRecord
	// identity is whose it is to who presents the key.
	identity Identity
	used     *use
	digest   Digest
	// previous is of the key before the last rotation, zero where there was none.
	previous Digest
}

// NewTable makes an empty table of keys whose digests are made with secret. A table that only tells which keys there are
// ([Table.Get], [Table.All]) needs none: nil.
func NewTable(secret *Secret) *Table {
	return &Table{secret: secret, byID: make(map[string]*Entry), uses: make(map[string]*use)}
}

// Rev returns the offset of the control topic up to which the table has read: the next record's. It grows with every
// record, also with those that were refused.
func (t *Table) Rev() int64 { return t.rev.Load() }

// Apply takes the control record (key, value) at offset into the table. A record that is not the next version of its
// API key ([ErrStale]) or that cannot be read changes nothing but [Table.Rev]: the error is for the log, and the caller
// goes on. An offset below Rev has been applied already and does nothing. Key and value are not kept.
func (t *Table) Apply(offset int64, key, value []byte) error {
	if offset < t.rev.Load() {
		return nil
	}
	defer t.grow(offset + 1) // after the entry can be found
	e, err := decodeEntry(key, value)
	if err == nil {
		err = t.put(e)
	}
	if err != nil {
		return fmt.Errorf("apply api key %q at offset %d: %w", key, offset, err)
	}
	return nil
}

func (t *Table) grow(rev int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rev.Store(rev)
	if t.grown != nil {
		close(t.grown)
		t.grown = nil
	}
}

// Wait returns when the table has read everything below rev, or ctx's error.
func (t *Table) Wait(ctx context.Context, rev int64) error {
	for {
		t.mu.Lock()
		if t.rev.Load() >= rev {
			t.mu.Unlock()
			return nil
		}
		if t.grown == nil {
			t.grown = make(chan struct{})
		}
		grown := t.grown
		t.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("wait for API keys up to %d: %w", rev, context.Cause(ctx))
		}
	}
}

func decodeEntry(key, value []byte) (*Entry, error) {
	r, err := schema.DecodeControl[schema.APIKeyRecord](value)
	if err != nil {
		return nil, err
	}
	if r.ID == "" || r.ID != string(key) {
		return nil, fmt.Errorf("check record: id %q differs from the record's key", r.ID)
	}
	if _, err := schema.ParseTenant(string(r.Tenant)); err != nil {
		return nil, fmt.Errorf("check record: %w", err)
	}
	if r.RateLimit < 0 {
		return nil, fmt.Errorf("check record: rate_limit %d is negative", r.RateLimit)
	}
	switch r.Status {
	case schema.APIKeyActive, schema.APIKeyInactive, schema.APIKeyRevoked:
	default:
		return nil, fmt.Errorf("check record: status %q is unknown", r.Status)
	}
	e := &Entry{Record: r}
	if !decodeDigest(&e.digest, r.HMAC) {
		return nil, errors.New("check record: hmac is not 64 hexadecimal digits")
	}
	if r.PreviousHMAC != "" && !decodeDigest(&e.previous, r.PreviousHMAC) {
		return nil, errors.New("check record: previous_hmac is not 64 hexadecimal digits")
	}
	e.identity = Identity{Tenant: Tenant{r.Tenant}, KeyID: r.ID, Name: r.Name, Scopes: r.Scopes, RateLimit: r.RateLimit}
	return e, nil
}

func decodeDigest(d *Digest, s string) bool {
	n, err := hex.Decode(d[:], exactly(2*len(d), s))
	return err == nil && n == len(d)
}

// exactly returns s when it has n bytes, else nothing: hex.Decode overruns its target otherwise.
func exactly(n int, s string) []byte {
	if len(s) != n {
		return nil
	}
	return []byte(s)
}

// put makes e the current version of its API key.
func (t *Table) put(e *Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.byID[e.Record.ID]
	if err := checkNext(old, e); err != nil {
		return err
	}
	for _, d := range e.digests() {
		if holder := t.find(d); holder != nil && holder.Record.ID != e.Record.ID {
			return fmt.Errorf("check record: its hmac is that of api key %q", holder.Record.ID)
		}
	}
	e.used = t.use(e.Record.ID)
	t.byID[e.Record.ID] = e
	for _, d := range e.digests() {
		t.replace(d, e)
	}
	if old != nil {
		for _, d := range old.digests() {
			if !slices.Contains(e.digests(), d) {
				t.replace(d, nil)
			}
		}
	}
	return nil
}

// digests are those that find the entry: the key's, and its predecessor's, also when the overlap is over, so that the
// old key is told from an unknown one.
func (e *Entry) digests() []Digest {
	if e.previous == (Digest{}) {
		return []Digest{e.digest}
	}
	return []Digest{e.digest, e.previous}
}

// checkNext says whether e may follow old, which is nil for a new API key.
func checkNext(old, e *Entry) error {
	var current int64
	if old != nil {
		current = old.Record.Version
	}
	switch {
	case e.Record.Version != current+1:
		return fmt.Errorf("%w: version %d does not follow %d", ErrStale, e.Record.Version, current)
	case old == nil:
		return nil
	case old.Record.Status == schema.APIKeyRevoked:
		return errors.New("check record: revoked is final")
	case old.Record.Tenant != e.Record.Tenant:
		return fmt.Errorf("check record: tenant changes from %q to %q", old.Record.Tenant, e.Record.Tenant)
	}
	return nil
}

func (t *Table) shard(d Digest) *atomic.Pointer[map[Digest]*Entry] {
	return &t.shards[(uint(d[0])<<8|uint(d[1]))%shardCount]
}

func (t *Table) find(d Digest) *Entry {
	if m := t.shard(d).Load(); m != nil {
		return (*m)[d]
	}
	return nil
}

// replace sets or, with nil, removes the entry of a digest in a copy of its shard.
func (t *Table) replace(d Digest, e *Entry) {
	shard := t.shard(d)
	next := make(map[Digest]*Entry)
	if m := shard.Load(); m != nil {
		next = maps.Clone(*m)
	}
	if e == nil {
		delete(next, d)
	} else {
		next[d] = e
	}
	shard.Store(&next)
}

// Lookup authenticates: it finds the API key that was presented, without "Bearer ", and says who that makes its sender.
// That, and a ticket, is all that gives anybody a [Tenant]. The error is [ErrUnknown], or one that wraps [ErrRefused], and then there is no
// identity, but the entry for the log. The time that it takes says nothing about other keys: what is
// presented, well formed or not, costs one HMAC and one look-up by it, and the last comparison is constant-time. It allocates nothing and keeps no reference.
func (t *Table) Lookup(presented string, now time.Time) (*Identity, *Entry, error) {
	e, err := t.lookup(presented, now)
	if err != nil {
		return nil, e, err
	}
	e.used.note(now)
	return &e.identity, e, nil
}

func (t *Table) lookup(presented string, now time.Time) (*Entry, error) {
	wellFormed := ParseKey(presented)
	if !wellFormed {
		presented = presented[:min(len(presented), keyLen)] // no more work than for a key
	}
	digest := t.secret.Digest(presented)
	e := t.find(digest)
	if e == nil || !wellFormed {
		return nil, ErrUnknown
	}
	if subtle.ConstantTimeCompare(e.digest[:], digest[:]) == 1 {
		return e, e.usable(now)
	}
	if subtle.ConstantTimeCompare(e.previous[:], digest[:]) != 1 {
		return nil, ErrUnknown
	}
	if err := e.usable(now); err != nil {
		return e, err
	}
	if schema.MillisOf(now) >= e.Record.PreviousUntil {
		return e, errRotated
	}
	return e, nil
}

// usable is nil while the API key opens anything.
func (e *Entry) usable(now time.Time) error {
	switch {
	case e.Record.Status == schema.APIKeyRevoked:
		return errRevoked
	case e.Record.Status != schema.APIKeyActive:
		return errInactive
	case e.Record.ExpiresAt != 0 && schema.MillisOf(now) >= e.Record.ExpiresAt:
		return errExpired
	}
	return nil
}

// Usable says why the API key with an id opens nothing any more, nil while it does: for what outlives its request.
func (t *Table) Usable(id string, now time.Time) error {
	if e := t.Get(id); e != nil {
		return e.usable(now)
	}
	return ErrUnknown
}

// Get returns the current version of the API key with an id, or nil. It is for the operator; see [Table.Own].
func (t *Table) Get(id string) *Entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// List returns a tenant's API keys, oldest first, then by id.
func (t *Table) List(tenant Tenant) []*Entry {
	return t.list(func(e *Entry) bool { return tenant.Owns(e.Record.Tenant) })
}

// Own returns the current version of a tenant's API key with an id, nil where it is not there or another tenant's.
func (t *Table) Own(tenant Tenant, id string) *Entry {
	if e := t.Get(id); e != nil && tenant.Owns(e.Record.Tenant) {
		return e
	}
	return nil
}

// All returns the API keys of every tenant, oldest first, then by id. It is for the operator.
func (t *Table) All() []*Entry {
	return t.list(func(*Entry) bool { return true })
}

func (t *Table) list(match func(*Entry) bool) []*Entry {
	t.mu.RLock()
	var list []*Entry
	for _, e := range t.byID {
		if match(e) {
			list = append(list, e)
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(list, (*Entry).age)
	return list
}

// CheckSecret returns [ErrOtherSecret], wrapped, when the newest active API key was made with another secret than the
// table's. A key whose record does not tell its secret is passed over.
func (t *Table) CheckSecret() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var newest *Entry
	for _, e := range t.byID {
		if e.Record.Secret == "" || e.Record.Status != schema.APIKeyActive {
			continue
		}
		if newest == nil || e.age(newest) > 0 {
			newest = e
		}
	}
	if newest == nil || newest.Record.Secret == t.secret.Fingerprint() {
		return nil
	}
	return fmt.Errorf("check secret %s: API key %s was made with %s: %w",
		t.secret.Fingerprint(), newest.Record.ID, newest.Record.Secret, ErrOtherSecret)
}

// age orders API keys, oldest first.
func (e *Entry) age(other *Entry) int {
	return cmp.Or(cmp.Compare(e.Record.CreatedAt, other.Record.CreatedAt), cmp.Compare(e.Record.ID, other.Record.ID))
}

// Len returns the number of API keys, revoked ones included.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}
