package httpapi

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of what a closing connection drains.
const (
	lingerBytes = 64 << 20
	lingerIdle  = 5 * time.Second // without a byte
	lingerTotal = 30 * time.Second
)

// connSet is the connections that a server has open, so that it can cut them.
type connSet struct {
	limit  int // connections; surplus more are answered 503, and what comes beyond those is closed
	bodies *budget
	closed func() // counts a connection that is closed because there are too many

	mu      sync.Mutex // guards the following
	open    map[*conn]struct{}
	stopped bool // nothing is added any more
	ln      net.Listener
}

// surplus is how many connections over the limit are kept for as long as it takes to say so.
const surplus = 256

// pauseFull is how long nothing is accepted after a connection that was closed at once. It is less than a client notices, and
// bounds what a flood of connections costs.
const pauseFull = 5 * time.Millisecond

func newConnSet(limit int, bodies *budget, closed func()) *connSet {
	return &connSet{limit: limit, bodies: bodies, closed: closed, open: make(map[*conn]struct{})}
}

// listener hands out connections of the kind that this package needs.
type listener struct {
	net.Listener
	set          *connSet
	writeTimeout time.Duration
}

// listen wraps ln, and closes it when the set has been stopped before.
func (s *connSet) listen(ln net.Listener, writeTimeout time.Duration) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln = ln
	if s.stopped {
		_ = ln.Close()
	}
	return &listener{Listener: ln, set: s, writeTimeout: writeTimeout}
}

// stop closes the listener, because fasthttp forgets one that it has not begun to serve, and the connections on which
// nothing was ever sent, because fasthttp waits five seconds for those.
func (s *connSet) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.ln != nil {
		_ = s.ln.Close()
	}
	for c := range s.open {
		if !c.used.Load() {
			_ = c.Conn.Close()
		}
	}
}

func (s *connSet) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	if len(s.open) >= s.limit+surplus {
		s.closed()
		return false
	}
	c.surplus = len(s.open) >= s.limit
	s.open[c] = struct{}{}
	return true
}

func (s *connSet) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *connSet) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// closeAll cuts every connection that is still open.
func (s *connSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Conn.Close()
	}
}

// Close stops accepting. It may be called twice: connSet.stop and fasthttp both do.
func (l *listener) Close() error {
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Accept waits for a connection. Want of file descriptors makes it wait, not fail: fasthttp would stop serving.
func (l *listener) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			wrapped := &conn{Conn: c, set: l.set, writeTimeout: l.writeTimeout}
			if l.set.add(wrapped) {
				return wrapped, nil
			}
			_ = c.Close()
			time.Sleep(pauseFull) // others wait in the kernel's queue, which costs nothing
		case isTemporary(err):
			time.Sleep(pause)
		default:
			return nil, err
		}
	}
}

func isTemporary(err error) bool {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// conn is a connection that bounds each write, not the sum of them, so that a stream may last for ever while its
// reader reads; that holds its request's part of the budget; and that drains before it closes when the client may still
// be sending.
type conn struct {
	net.Conn
	set          *connSet
	writeTimeout time.Duration
	surplus      bool        // there were too many already: it gets one answer
	used         atomic.Bool // something was read
	linger       atomic.Bool
	closed       atomic.Bool
	held         atomic.Int64 // bytes of the budget, of the request at hand

	// The request at hand. Only the goroutine that serves the connection touches the following.
	refused  *Error // it may not come
	answered bool
	pace     pace
}

// NetConn returns the connection underneath, for who must see the socket itself.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read notes that the connection is in use, and gives a large body that arrives more time.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.used.Load() {
		c.used.Store(true)
	}
	if n > 0 && c.pace.running() {
		c.pace.advance(c.Conn, n)
	}
	return n, err
}

// SetReadDeadline is how fasthttp begins to wait for a request: then the answer to the one before is written, and its body
// is no more.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.answered {
		c.release()
	}
	return c.Conn.SetReadDeadline(t)
}

// release gives what the connection holds of the budget back.
func (c *conn) release() {
	if n := c.held.Swap(0); n > 0 {
		c.set.bodies.held.Add(-n)
	}
}

// Write writes all of b, or fails when that takes longer than the write timeout.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close closes the connection. Closing a socket with unread bytes in it resets the connection, and the reset throws
// away the answer that is on its way to the client. So where linger is set, it says "no more" and drains, in the
// goroutine that serves the connection, within bounds.
func (c *conn) Close() error {
	c.release() // each time: a request may have come between Shutdown's Close and the server's own
	if !c.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	if c.linger.Load() {
		c.drain()
	}
	c.set.remove(c)
	return c.Conn.Close()
}

func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	end := time.Now().Add(lingerTotal)
	buf := make([]byte, 32<<10)
	for left := lingerBytes; left > 0; {
		deadline := time.Now().Add(lingerIdle)
		if deadline.After(end) {
			deadline = end
		}
		if c.Conn.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := io.ReadAtLeast(c.Conn, buf, 1)
		if err != nil {
			return
		}
		left -= n
	}
}
