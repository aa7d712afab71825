package notify

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// DefaultSchedule is the waits after each failed try: the example of the specification, ten tries in 76 hours.
var DefaultSchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// jitter is the part of a wait by which it may be longer, so that what failed together does not come back together.
	jitter = 0.2
	// maxRetryAfter bounds what a target may ask for.
	maxRetryAfter = 24 * time.Hour
)

// wait is how long to wait after the try of a step (from 0) has failed, at least retryAfter; false when it was the last.
func wait(schedule []time.Duration, step int, retryAfter time.Duration) (time.Duration, bool) {
	if step >= len(schedule) {
		return 0, false
	}
	d := schedule[step]
	d += time.Duration(jitter * rand.Float64() * float64(d))
	return max(d, retryAfter), true
}

// retryAfter reads the header Retry-After, seconds or a date; 0 where there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	d := time.Duration(0)
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
