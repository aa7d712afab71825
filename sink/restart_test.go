package sink

import (
	"testing"
	"time"
)

func TestRestartAfter(t *testing.T) {
	f := func(last, ran, want time.Duration) {
		t.Helper()
		if got := restartAfter(last, ran); got != want {
			t.Errorf("after a pause of %v and %v of running: %v, want %v", last, ran, got, want)
		}
	}
	f(0, time.Second, 200*time.Millisecond)
	f(200*time.Millisecond, time.Second, 400*time.Millisecond)
	f(3200*time.Millisecond, 59*time.Second, 5*time.Second)
	f(5*time.Second, 0, 5*time.Second)
	f(5*time.Second, time.Minute, 200*time.Millisecond)
}
