package signup

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	limitWindow = time.Hour
	// maxLimited is how many addresses or networks are remembered. When so many have asked within the hour, new ones are refused.
	maxLimited = 50_000
)

// limiter lets a thing happen so many times in any hour. It counts for this node.
type limiter struct {
	limit int

	mu    sync.Mutex
	times map[string][]time.Time // guards the following: of the last hour, the oldest first
}

func newLimiter(limit int) *limiter { return &limiter{limit: limit, times: map[string][]time.Time{}} }

func (l *limiter) take(what string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := func(t time.Time) bool { return now.Sub(t) >= limitWindow }
	recent := slices.DeleteFunc(l.times[what], old)
	if len(l.times) >= maxLimited && len(recent) == 0 {
		for name, times := range l.times {
			if old(times[len(times)-1]) {
				delete(l.times, name)
			}
		}
		if len(l.times) >= maxLimited {
			return false
		}
	}
	if len(recent) >= l.limit {
		l.times[what] = recent
		return false
	}
	l.times[what] = append(recent, now)
	return true
}

// network is what the limits count an address as: who has one IPv6 address has a whole /48 of them.
func network(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return "?"
	}
	return p.String()
}
