package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"keypulse/schema"
)

// Version is one version of a rule, or its end.
type Version struct {
	Rule    Rule // of a deleted one, the last rule
	Version int64
	Deleted bool
	By      string
	At      schema.Millis
	Offset  int64    // of its record in the rules topic
	Program *Program // nil when deleted
}

// Book is every version of every tenant's rules, in the order of the rules topic. It is fed record by record
// ([Book.Apply], one caller) and read by any number of goroutines. What it answers for a revision never changes.
type Book struct {
	rev atomic.Int64 // offset of the next record to read; written under mu

	mu sync.RWMutex
	// guards the following
	grown   chan struct{}
	tenants map[schema.Tenant]*tenantBook
	empty   *Set
}

// tenantBook is the rules of one tenant.
type tenantBook struct {
	current map[string]Version // by id; deleted ones too, for their version numbers go on
	changes []Version          // in the order of the topic
	sets    map[int]*Set       // by the number of changes that are in it
	rules   int                // of current, those in force
	uses    map[string]int     // how many rules in force have an aggregate, by its key
	kept    map[string]*kept   // the aggregates that enabled rules have, by key
}

// keptSets is how many sets of a tenant are kept: those in force now and a little earlier. Others are built again.
const keptSets = 16

// NewBook returns an empty book that expects the topic's first record.
func NewBook() *Book {
	return &Book{grown: make(chan struct{}), tenants: map[schema.Tenant]*tenantBook{}, empty: NewSet(nil)}
}

// The reasons for which a record of the rules topic changes nothing, besides [Errors] of its rule.
var (
	ErrStale = errors.New("it does not replace the current version")
	ErrLimit = errors.New("the tenant's limit is reached")
)

// Apply reads the record at offset, in log order. A record that is stale, malformed or over the tenant's limits, or
// whose rule does not compile, changes nothing but the revision; the error says why.
func (b *Book) Apply(offset int64, key, value []byte) error {
	v, tenant, err := decodeVersion(offset, key, value)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		err = b.apply(tenant, v)
	}
	b.rev.Store(offset + 1)
	close(b.grown)
	b.grown = make(chan struct{})
	if err != nil {
		return fmt.Errorf("apply rule record %d: %w", offset, err)
	}
	return nil
}

// decodeVersion reads a record and compiles its rule.
func decodeVersion(offset int64, key, value []byte) (Version, schema.Tenant, error) {
	r, err := schema.DecodeControl[schema.RuleRecord](value)
	if err != nil {
		return Version{}, "", err
	}
	if string(key) != string(schema.RecordKey(r.Tenant, r.ID)) {
		return Version{}, "", fmt.Errorf("its key %q is not that of %s of tenant %s", key, r.ID, r.Tenant)
	}
	v := Version{Version: r.Version, Deleted: r.Deleted, By: r.By, At: r.At, Offset: offset}
	if v.Deleted {
		v.Rule.ID = r.ID
		return v, r.Tenant, nil
	}
	if v.Rule, err = ParseJSON(r.Rule); err != nil {
		return Version{}, "", err
	}
	if v.Rule.ID != r.ID {
		return Version{}, "", fmt.Errorf("its rule is %q, not %q", v.Rule.ID, r.ID)
	}
	if v.Program, err = Compile(v.Rule); err != nil {
		return Version{}, "", err
	}
	v.Program.Version = v.Version
	return v, r.Tenant, nil
}

// apply puts the version into the book. The caller holds the lock.
func (b *Book) apply(tenant schema.Tenant, v Version) error {
	t := b.tenants[tenant]
	if t == nil {
		t = &tenantBook{current: map[string]Version{}, sets: map[int]*Set{}, uses: map[string]int{}, kept: map[string]*kept{}}
	}
	last := t.current[v.Rule.ID]
	if v.Version != last.Version+1 || v.Deleted && (last.Version == 0 || last.Deleted) {
		return fmt.Errorf("version %d of rule %s, current is %d: %w", v.Version, v.Rule.ID, last.Version, ErrStale)
	}
	if v.Deleted {
		v.Rule = last.Rule
	} else if err := t.fits(v.Program); err != nil {
		return err
	}
	t.enter(v.Program)
	t.leave(last.Program)
	t.keep(v.Program, last.Program, v.At)
	t.current[v.Rule.ID] = v
	t.changes = append(t.changes, v)
	b.tenants[tenant] = t
	return nil
}

// enter counts a program that comes into force, leave one that goes; nil is none.
func (t *tenantBook) enter(p *Program) {
	if p == nil {
		return
	}
	t.rules++
	for _, a := range p.tables.aggregates {
		t.uses[a.key]++
	}
}

func (t *tenantBook) leave(p *Program) {
	if p == nil {
		return
	}
	t.rules--
	for _, a := range p.tables.aggregates {
		if t.uses[a.key]--; t.uses[a.key] == 0 {
			delete(t.uses, a.key)
		}
	}
}

// fits says whether the tenant may have p beside its other rules. It looks at no aggregates but p's and those of the
// rule in whose place p comes.
func (t *tenantBook) fits(p *Program) error {
	rules, aggregates := t.rules+1, len(t.uses)
	own := make(map[string]struct{}, len(p.tables.aggregates))
	for _, a := range p.tables.aggregates {
		own[a.key] = struct{}{}
		if t.uses[a.key] == 0 {
			aggregates++
		}
	}
	if last := t.current[p.rule.ID].Program; last != nil {
		rules--
		for _, a := range last.tables.aggregates {
			if _, stays := own[a.key]; t.uses[a.key] == 1 && !stays {
				aggregates--
			}
		}
	}
	if rules > MaxRules {
		return fmt.Errorf("%d rules, at most %d: %w", rules, MaxRules, ErrLimit)
	}
	if aggregates > MaxAggregates {
		return fmt.Errorf("%d different aggregates, at most %d: %w", aggregates, MaxAggregates, ErrLimit)
	}
	return nil
}

// Fits returns [ErrLimit], wrapped, when the tenant's limits leave no room for the program in the place of the rule
// with its id.
func (b *Book) Fits(tenant schema.Tenant, p *Program) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if t := b.tenants[tenant]; t != nil {
		return t.fits(p)
	}
	return nil
}

// Rev returns the offset of the next record to read: everything below it has been applied.
// It takes no lock.
func (b *Book) Rev() int64 { return b.rev.Load() }

// Wait blocks until everything below rev has been applied, or ctx ends.
func (b *Book) Wait(ctx context.Context, rev int64) error {
	for {
		b.mu.RLock()
		done, grown := b.rev.Load() >= rev, b.grown
		b.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("wait for rules up to %d: %w", rev, context.Cause(ctx))
		}
	}
}

// At returns the set of the tenant's rules that the records below rev make, which have been read: see [Book.Wait].
// It is never nil, and the same for every caller for as long as it is among the latest few.
func (b *Book) At(tenant schema.Tenant, rev int64) *Set {
	b.mu.RLock()
	set, n := b.cached(tenant, rev)
	b.mu.RUnlock()
	if set != nil {
		return set
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tenants[tenant]
	if set = t.sets[n]; set == nil {
		set = t.build(n)
	}
	return set
}

// cached returns the set when it is there, and how many of the tenant's changes are in it.
func (b *Book) cached(tenant schema.Tenant, rev int64) (*Set, int) {
	t := b.tenants[tenant]
	if t == nil {
		return b.empty, 0
	}
	n := len(t.changes)
	if n > 0 && t.changes[n-1].Offset >= rev {
		n = sort.Search(n, func(i int) bool { return t.changes[i].Offset >= rev })
	}
	if n == 0 {
		return b.empty, 0
	}
	return t.sets[n], n
}

// build makes the set of the first n changes and keeps it; the oldest goes when there are too many.
func (t *tenantBook) build(n int) *Set {
	latest := map[string]*Program{}
	for _, v := range t.changes[:n] {
		latest[v.Rule.ID] = v.Program
	}
	programs := make([]*Program, 0, len(latest))
	for _, p := range latest {
		if p != nil {
			programs = append(programs, p)
		}
	}
	set := NewSet(programs)
	t.sets[n] = set
	if len(t.sets) > keptSets {
		oldest := n
		for other := range t.sets {
			oldest = min(oldest, other)
		}
		delete(t.sets, oldest)
	}
	return set
}

// Rules returns the tenant's current rules in the order of their ids.
func (b *Book) Rules(tenant schema.Tenant) []Version {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []Version
	if t := b.tenants[tenant]; t != nil {
		for _, v := range t.current {
			if !v.Deleted {
				list = append(list, v)
			}
		}
	}
	slices.SortFunc(list, func(a, b Version) int { return strings.Compare(a.Rule.ID, b.Rule.ID) })
	return list
}

// Rule returns the current version of a rule: of a deleted one too, marked so. false: there never was one.
func (b *Book) Rule(tenant schema.Tenant, id string) (Version, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.tenants[tenant]
	if t == nil {
		return Version{}, false
	}
	v, ok := t.current[id]
	return v, ok
}

// Record returns the record that makes the next version of the rule, as [Book.Apply] reads it.
func Record(tenant schema.Tenant, r Rule, version int64, by string, at schema.Millis) (schema.RuleRecord, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return schema.RuleRecord{}, fmt.Errorf("encode rule %s: %w", r.ID, err)
	}
	return schema.RuleRecord{Tenant: tenant, ID: r.ID, Version: version, Rule: raw, By: by, At: at}, nil
}
