package auth

// window is the requests of one API key in the last 60 seconds: a ring of their times, oldest first.
//
// A time is kept as the low 32 bits of its microseconds. They wrap after 71 minutes, and nothing older than 60 seconds
// is ever in the ring when it is read, so that a difference of two times is always right.
type window struct {
	ring  []uint32 // its length is a power of two, or 0
	first int      // index of the oldest
	count int
	last  int64 // microseconds since the shard's epoch: the largest time seen
}

const minRing = 8

// advance moves the window to the time at, in microseconds, and returns it: two goroutines may read the clock in one
// order and come here in the other, and time never goes back.
func (w *window) advance(at int64) int64 {
	at = max(at, w.last)
	w.expire(at)
	w.last = at
	return at
}

// take asks for n requests of room, at the time of the last advance.
func (w *window) take(room, n int) bool {
	if n > room-w.count {
		return false
	}
	for range n {
		w.push(uint32(w.last))
	}
	return true
}

// decide says what became of n requests. room is what this node may use of limit, and spare what it could have at once
// beside that.
func (w *window) decide(allowed bool, limit, room, spare, n int) Decision {
	d := Decision{Limit: limit, Allowed: allowed, Remaining: min(max(room-w.count, 0)+spare, limit)}
	switch {
	case d.Remaining > 0:
		d.Reset = w.freeAfter(w.count, w.last)
	default:
		d.Reset = max(w.freeAfter(min(w.count-room+1, w.count), w.last), 1)
	}
	if !d.Allowed {
		d.RetryAfter = max(w.freeAfter(min(w.count-room+n, w.count), w.last), 1)
	}
	return d
}

// freeAfter returns the whole seconds, rounded up, until the oldest n requests have left the window.
func (w *window) freeAfter(n int, at int64) int {
	if n <= 0 {
		return 0
	}
	left := windowMicros - w.age(n-1, at)
	return int((left + 999_999) / 1_000_000)
}

// age returns how long ago the i-th oldest request was, in microseconds.
func (w *window) age(i int, at int64) int64 {
	return int64(uint32(at) - w.ring[(w.first+i)&(len(w.ring)-1)])
}

// expire drops what is 60 seconds old or older.
func (w *window) expire(at int64) {
	if at-w.last >= windowMicros {
		w.count = 0
	}
	for w.count > 0 && w.age(0, at) >= windowMicros {
		w.first = (w.first + 1) & (len(w.ring) - 1)
		w.count--
	}
	if len(w.ring) > minRing && w.count < len(w.ring)/8 {
		w.resize(len(w.ring) / 2)
	}
}

func (w *window) push(at uint32) {
	if w.count == len(w.ring) {
		w.resize(max(2*len(w.ring), minRing))
	}
	w.ring[(w.first+w.count)&(len(w.ring)-1)] = at
	w.count++
}

// resize moves the times into a ring of size, which has room for them.
func (w *window) resize(size int) {
	ring := make([]uint32, size)
	for i := range w.count {
		ring[i] = w.ring[(w.first+i)&(len(w.ring)-1)]
	}
	w.ring, w.first = ring, 0
}
