package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// stopTimeout bounds how long all parts together may take to stop.
const stopTimeout = 9 * time.Second

// stack is the parts of a process in the order in which they were started. They stop in reverse: each is told, and
// waited for, before the one below it.
type stack struct {
	log   *zap.Logger
	ctx   context.Context // done when the process is to stop, or a part has failed
	fail  context.CancelCauseFunc
	parts []*part
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

func newStack(ctx context.Context, log *zap.Logger) *stack {
	ctx, fail := context.WithCancelCause(ctx)
	return &stack{log: log, ctx: ctx, fail: fail}
}

// start runs a part on top of those that run. Its context ends when everything above it has stopped; a part that ends
// earlier stops the process.
func (s *stack) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	s.parts = append(s.parts, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return
		}
		if err == nil {
			err = errors.New("ended unexpectedly")
		}
		s.fail(fmt.Errorf("%s: %w", name, err))
	}()
}

// onStop puts an action on top of the parts: it runs, with a deadline, before any part below is told to stop.
func (s *stack) onStop(name string, stop func(context.Context) error) {
	s.start(name, func(ctx context.Context) error {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout/2)
		defer cancel()
		return stop(deadline)
	})
}

// wait blocks until the process is to stop, stops the parts, and returns why, nil when it was asked to.
func (s *stack) wait() error {
	<-s.ctx.Done()
	s.log.Info("stopping", zap.String("cause", context.Cause(s.ctx).Error()))
	began := time.Now()
	err := s.stop()
	s.log.Info("stopped", zap.Duration("took", time.Since(began)))
	return err
}

// stop ends all parts in reverse order and returns the failure that began it or came up meanwhile.
func (s *stack) stop() error {
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		p.cancel()
		select {
		case <-p.done:
			s.log.Debug("stopped", zap.String("part", p.name))
		case <-deadline.C:
			return fmt.Errorf("stop %s: it did not end within %v", p.name, stopTimeout)
		}
	}
	s.fail(nil)
	if cause := context.Cause(s.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
