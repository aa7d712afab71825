package query

import (
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// A list of events is read in spans of time, the newest first, until the page is full. Each part of the table that a statement
// may have to look into costs it most of a millisecond, and a page's events are nearly always in the newest few; so a statement
// for the time that a page is likely to cover costs the same whether a million events are stored or a hundred million. Spans do
// not overlap, so that no event comes twice, and the last one has no beginning, so that none is missed.

const (
	// firstSpan is where a list begins of which nothing is known.
	firstSpan = time.Hour
	// spanGrowth is how many times longer the next span is, lastSpans how many there are before the one without a beginning.
	spanGrowth = 16
	lastSpans  = 3
	// maxSpans bounds what a node remembers; then it begins anew.
	maxSpans = 10_000
)

// spans remembers how long a span has filled the last page of each kind of list. It is only about speed: whatever it says, a
// page is the same.
type spans struct {
	seed maphash.Seed

	mu sync.Mutex // guards the following
	of map[uint64]time.Duration
}

// everything is the span of lists that have fewer events than a page.
const everything = time.Duration(0)

func newSpans() *spans { return &spans{seed: maphash.MakeSeed(), of: map[uint64]time.Duration{}} }

// listName is a list by its tenant and filters, and its shape by its tenant and the filters' names: pages of one list, and lists
// of one shape, are about as dense.
type listName struct{ exact, shape uint64 }

func (s *spans) name(tenant auth.Tenant, values map[string]string) listName {
	var exact, shape maphash.Hash
	for _, h := range []*maphash.Hash{&exact, &shape} {
		h.SetSeed(s.seed)
		h.WriteString(tenant.String())
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch name {
		case "limit", "cursor", "since", "until":
			continue
		}
		exact.WriteString("\x00" + name + "\x00" + values[name])
		shape.WriteString("\x00" + name)
	}
	return listName{exact.Sum64(), shape.Sum64()}
}

// first is the span with which to begin a list: what filled the same one, or else one of the same shape.
func (s *spans) first(l listName) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []uint64{l.exact, l.shape} {
		if d, ok := s.of[name]; ok {
			return d
		}
	}
	return firstSpan
}

// learn remembers a span for a list and its shape.
func (s *spans) learn(l listName, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) >= maxSpans {
		clear(s.of)
	}
	s.of[l.exact], s.of[l.shape] = d, d
}

// walk calls read for one span after the other, from a time, inclusive, to the beginning of the span before, until it says that the page is
// full and what time its last row has. The first span has no end and begins somewhere before top; nil stands for no bound. Nothing
// before floor is asked for.
func (s *spans) walk(l listName, top, floor schema.Millis, read func(from, to *schema.Millis) (last schema.Millis, full bool, err error)) error {
	var to *schema.Millis
	span := s.first(l)
	for n := 0; ; n++ {
		var from *schema.Millis
		if at := top - schema.Millis(span.Milliseconds()); span != everything && n < lastSpans && at > floor {
			from = &at
		}
		last, full, err := read(from, to)
		switch {
		case err != nil:
			return err
		case full:
			// Twice what it took, so that the next page, a little less dense, is one statement, too.
			s.learn(l, max(2*time.Duration(top-last)*time.Millisecond, time.Second))
			return nil
		case from == nil && floor == 0:
			s.learn(l, everything)
			return nil
		case from == nil: // a page takes longer than that
			s.learn(l, 2*time.Duration(top-floor)*time.Millisecond)
			return nil
		}
		to, span = from, spanGrowth*min(span, math.MaxInt64/spanGrowth)
	}
}
