package query

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// watchEvery is how often a waiting request looks whether its client is still there. Most are answered sooner, and
// then it costs a timer.
const watchEvery = 100 * time.Millisecond

// watch looks at a connection until it is closed by its client, or until stop. fasthttp reads nothing while a handler
// runs, so nobody else would notice.
type watch struct {
	mu sync.Mutex // guards the following
	// stopped makes a look that was about to begin do nothing.
	stopped bool
	raw     syscall.RawConn
	gone    func()
	timer   *time.Timer
}

// watchClient calls gone, once, after the client has closed conn. It returns nil where a connection cannot be looked at.
func watchClient(conn net.Conn, gone func()) *watch {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	w := &watch{raw: raw, gone: gone}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(watchEvery, w.look)
	return w
}

// rawConn finds the socket under whatever wraps it.
func rawConn(conn net.Conn) syscall.RawConn {
	for {
		switch c := conn.(type) {
		case syscall.Conn:
			raw, err := c.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
	case isClosed(w.raw):
		w.gone()
	default:
		w.timer.Reset(watchEvery)
	}
}

// stop ends the watch; when it returns, gone runs no more and will not.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
