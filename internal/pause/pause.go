// Package pause waits between two tries.
//
// The invariant it keeps: a wait ends with its context, so that nobody's stop is held up by it.
//
//	if err := pause.For(ctx, 50*time.Millisecond); err != nil {
//		return err
//	}
package pause

import (
	"context"
	"time"
)

// For waits for d; it fails with ctx's error when ctx is done first.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
