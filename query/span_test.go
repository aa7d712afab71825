package query

import (
	"testing"
	"time"

	"keypulse/internal/auth/authtest"
	"keypulse/schema"
)

// TestSpansCoverEverythingOnce walks spans that never fill a page: they meet, and the last one has no beginning.
func TestSpansCoverEverythingOnce(t *testing.T) {
	const top = schema.Millis(2_000_000_000_000)
	f := func(s *spans, l listName, floor schema.Millis) (statements int) {
		t.Helper()
		var before *schema.Millis
		ended := false
		_ = s.walk(l, top, floor, func(from, to *schema.Millis) (schema.Millis, bool, error) {
			statements++
			switch {
			case ended:
				t.Error("a span follows the last one")
			case (to == nil) != (before == nil) || to != nil && *to != *before:
				t.Errorf("a span ends at %v, the one before began at %v", to, before)
			case from != nil && (*from <= floor || to != nil && *from >= *to):
				t.Errorf("a span from %d to %v, the list begins at %d", *from, to, floor)
			}
			before, ended = from, from == nil
			return 0, false, nil
		})
		if !ended {
			t.Error("no span is without a beginning")
		}
		return statements
	}
	s := newSpans()
	l := s.name(authtest.Tenant(t, "demo"), map[string]string{"key_id": "a"})
	if n := f(s, l, 0); n != lastSpans+1 {
		t.Errorf("a list of which nothing is known takes %d statements, want %d", n, lastSpans+1)
	}
	if n := f(s, l, 0); n != 1 {
		t.Errorf("a list that was read to its end takes %d statements, want 1", n)
	}
	if n := f(newSpans(), l, top-1000); n != 1 {
		t.Errorf("a list that begins a second before takes %d statements, want 1", n)
	}
	s.learn(l, 1<<62)
	f(s, l, 0)
	const week = schema.Millis(7 * 24 * 60 * 60 * 1000)
	s = newSpans()
	if n := f(s, l, top-week); n != 3 {
		t.Errorf("a list of a week takes %d statements, want 3", n)
	}
	if n := f(s, l, top-week); n != 1 {
		t.Errorf("the same list that never filled a page takes %d statements, want 1", n)
	}
}

// TestSpansAreLearned wants a page like the one before to be one statement.
func TestSpansAreLearned(t *testing.T) {
	s, tenant := newSpans(), authtest.Tenant(t, "demo")
	read := func(key string, ago time.Duration) (statements int) {
		now := schema.MillisOf(noon)
		_ = s.walk(s.name(tenant, map[string]string{"key_id": key, "limit": "50"}), now, 0, func(from, _ *schema.Millis) (schema.Millis, bool, error) {
			statements++
			last := now - schema.Millis(ago.Milliseconds())
			return last, from == nil || *from <= last, nil
		})
		return statements
	}
	const week = 7 * 24 * time.Hour
	if n := read("a", week); n != 3 {
		t.Errorf("the first page takes %d statements, want 3", n)
	}
	if n := read("a", week+24*time.Hour); n != 1 {
		t.Errorf("the same list takes %d statements, want 1", n)
	}
	if n := read("b", week); n != 1 {
		t.Errorf("the list of another key takes %d statements, want 1", n)
	}
	for range 2 * maxSpans {
		s.learn(s.name(tenant, map[string]string{"key_id": time.Now().String()}), time.Hour)
	}
	if len(s.of) > maxSpans+1 {
		t.Errorf("%d spans are remembered, want at most %d", len(s.of), maxSpans+1)
	}
}
