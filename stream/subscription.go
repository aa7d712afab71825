package stream

import (
	"context"
	"io"
	"slices"
	"sync"

	"keypulse/internal/auth"
)

// Subscription is what one subscriber gets. One goroutine calls Next and Close.
type Subscription struct {
	hub    *Hub
	tenant auth.Tenant
	filter Filter
	place  int     // in its audience; the hub's lock guards it
	replay *replay // nil once the subscriber has caught up with the hub

	out    []byte        // what Next returned last; reused
	signal chan struct{} // one place: something is there for Next
	mu     sync.Mutex    // guards the following; taken after the hub's
	// queue is the frames that wait, at most Config.QueueBytes. While missed is not 0 nothing is added to it: a gap
	// frame comes after what waits.
	queue  []frame
	bytes  int
	missed int64
	ended  bool
}

// push adds the frames of a row that the filter lets pass. It never waits.
func (s *Subscription) push(all []frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for _, f := range all {
		size += len(f)
	}
	if s.missed > 0 || s.bytes+size > s.hub.cfg.QueueBytes {
		s.missed += int64(len(all))
		s.hub.metrics.missed.Add(float64(len(all)))
		return
	}
	s.queue = append(s.queue, all...)
	s.bytes += size
	s.wake()
}

// pushGap adds a gap that every subscriber sees. It takes no room in the queue's bound: gaps are few and small.
func (s *Subscription) pushGap(g Gap, f frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missed > 0 {
		s.missed += g.Missed
		return
	}
	s.queue = append(s.queue, f)
	s.wake()
}

func (s *Subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.signal <- struct{}{}:
	default: // Next has been told already
	}
}

// Next returns the next frames, one after the other, and waits for the first. They are valid until the next call. Its error is ctx's, io.EOF when the hub
// ends, or that the log cannot be read.
func (s *Subscription) Next(ctx context.Context) ([]byte, error) {
	if s.replay != nil {
		b, err := s.replay.next(ctx, s)
		if err != nil || len(b) > 0 {
			return b, err
		}
		s.replay = nil
	}
	for {
		if b := s.take(); len(b) > 0 {
			return b, nil
		}
		if s.hasEnded() {
			return nil, io.EOF
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Subscription) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && len(s.queue) == 0 && s.missed == 0
}

// take empties the queue; then, where frames were missed, it closes the gap. Under the hub's lock no row is half pushed,
// so that the hub's position is the gap's end.
func (s *Subscription) take() []byte {
	if b, gap := s.takeQueue(); !gap || len(b) > 0 {
		return b
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := Gap{Missed: s.missed, Reason: Slow}
	s.missed = 0
	return g.frame(s.hub.at, s.hub.cfg.Incarnation.Base)
}

func (s *Subscription) takeQueue() (b []byte, gap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(s.out) > 4*s.bytes { // one burst does not hold memory for ever
		s.out = nil
	}
	b = slices.Grow(s.out[:0], s.bytes)
	for _, f := range s.queue {
		b = append(b, f...)
	}
	clear(s.queue)
	s.queue, s.bytes, s.out = s.queue[:0], 0, b
	return b, s.missed > 0
}

// Close ends the subscription.
func (s *Subscription) Close() { s.hub.leave(s) }
