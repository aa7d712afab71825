package httpapi

import (
	"bytes"
	"math/bits"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

const (
	// smallBody is the most bytes that a body may have to be let in without a valid API key, to arrive within the
	// request's ReadTimeout however slowly, and to use the part of the budget that is kept from larger ones.
	smallBody = 64 << 10
	// minBodyRate is how many bytes of a larger body must arrive in a second; the first ReadTimeout is free.
	minBodyRate = 64 << 10
)

// budget is the bytes of the bodies that are in memory, of those being received too. What does not fit is refused, never
// kept waiting. A quarter is kept for small bodies, so that bulk cannot shut out single events.
type budget struct {
	limit int64
	held  atomic.Int64
}

func (b *budget) take(n int64) bool {
	limit := b.limit
	if n > smallBody {
		limit -= limit / 4
	}
	for {
		held := b.held.Load()
		if held+n > limit {
			return false
		}
		if b.held.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

// connOf returns the connection whose request's header fasthttp has just read. HeaderReceived gets nothing but the
// header, which lies in the RequestCtx that knows the connection; and it is the only hook before fasthttp allocates the
// whole Content-Length. TestBodiesAreBounded would see it fail.
func connOf(h *fasthttp.RequestHeader) *conn {
	const offset = unsafe.Offsetof(fasthttp.RequestCtx{}.Request) + unsafe.Offsetof(fasthttp.Request{}.Header)
	fctx := (*fasthttp.RequestCtx)(unsafe.Add(unsafe.Pointer(h), -int(offset)))
	c, _ := fctx.Conn().(*conn)
	return c
}

// headerReceived decides, before anything of the body is read, whether it may come. What may not is refused at once:
// without the Expect header fasthttp sends no "100 Continue", and a body over the limit that it gets is not read.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	limit, length := s.bodyLimit(h), h.ContentLength()
	if length > limit {
		h.Del(fiber.HeaderExpect)
		return fasthttp.RequestConfig{MaxRequestBodySize: limit}
	}
	c := connOf(h)
	c.refused = s.refuseBody(c, h, cost(h, length, limit))
	if c.refused != nil {
		h.Del(fiber.HeaderExpect)
		return fasthttp.RequestConfig{MaxRequestBodySize: 1}
	}
	if length == chunked || length > smallBody {
		c.pace.start(c.Conn, time.Now(), s.cfg.ReadTimeout, limit)
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: limit}
}

// chunked is the Content-Length of a body whose length is not announced.
const chunked = -1

// cost is how many bytes a body can come to take: its length, or its limit where that is not known before, rounded up as
// fasthttp rounds its buffers; and the limit once more where it is compressed.
func cost(h *fasthttp.RequestHeader, length, limit int) int64 {
	n := max(length, 0)
	if length == chunked {
		n = limit
	}
	if n == 0 {
		return 0
	}
	held := int64(1) << bits.Len(uint(n-1))
	if len(h.ContentEncoding()) > 0 {
		held += int64(limit)
	}
	return held
}

// refuseBody takes n bytes from the budget for the connection, or says why not.
func (s *Server) refuseBody(c *conn, h *fasthttp.RequestHeader, n int64) *Error {
	if c.surplus {
		path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
		if isProbe(string(path)) && n == 0 {
			return nil
		}
		s.metrics.overloads.WithLabelValues("connections").Inc()
		return Unavailable(CodeOverloaded, "Too many connections; nothing was accepted.", 1)
	}
	if n == 0 {
		return nil
	}
	if n > smallBody && s.cfg.Auth != nil {
		key, _ := s.presented(h)
		if _, _, err := s.cfg.Auth.table.Lookup(key, s.cfg.Auth.now()); err != nil {
			return keyError(err)
		}
	}
	if !s.bodies.take(n) {
		s.metrics.overloads.WithLabelValues("bytes").Inc()
		return Unavailable(CodeOverloaded, "Too many bytes are coming in at once; nothing was accepted.", 1)
	}
	c.held.Store(n)
	c.answered = false
	return nil
}

// pace is the deadline of a body that may take long as long as it makes progress.
type pace struct {
	due, last time.Time // zero: no body is read
}

// start gives the body its first deadline, and the last one that it can come to have.
func (p *pace) start(c deadliner, now time.Time, first time.Duration, limit int) {
	p.due = now.Add(first)
	p.last = p.due.Add(timeOf(limit))
	_ = c.SetReadDeadline(p.due) // fails only on a closed connection, as the read that follows
}

// advance moves the deadline by the time that n bytes may take.
func (p *pace) advance(c deadliner, n int) {
	p.due = p.due.Add(timeOf(n))
	if p.due.After(p.last) {
		p.due = p.last
	}
	_ = c.SetReadDeadline(p.due)
}

func (p *pace) running() bool { return !p.due.IsZero() }

type deadliner interface{ SetReadDeadline(time.Time) error }

func timeOf(bytes int) time.Duration { return time.Duration(bytes) * time.Second / minBodyRate }
