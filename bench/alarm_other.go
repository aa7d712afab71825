//go:build !linux

package bench

import (
	"context"
	"time"
)

// alarm wakes one goroutine at a due time, with the precision of the runtime's timers.
type alarm struct{ ctx context.Context }

// newAlarm returns an alarm whose waits end with ctx.
func newAlarm(ctx context.Context) (*alarm, error) { return &alarm{ctx: ctx}, nil }

// wait returns at due, or sooner when the alarm's context ends.
func (a *alarm) wait(due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.ctx.Done():
	}
	return nil
}

func (a *alarm) close() {}
