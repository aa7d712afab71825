package httpapi

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// serve is every request's way in and out. It stands around Fiber, not in it, because Fiber answers some requests
// without asking any middleware.
func (s *Server) serve(fctx *fasthttp.RequestCtx) {
	r := s.begin(fctx)
	c, _ := fctx.Conn().(*conn)
	if c != nil {
		c.pace = pace{}
	}
	defer func() {
		if p := recover(); p != nil {
			s.fail(fctx, r, Internal(fmt.Errorf("panic: %v\n%s", p, debug.Stack())))
		}
		s.end(fctx, r)
		if c != nil {
			c.answered = true
		}
	}()
	if c != nil && c.surplus {
		fctx.SetConnectionClose()
	}
	if err := s.admit(fctx, r); err != nil {
		s.fail(fctx, r, asError(err))
		return
	}
	if c != nil && c.refused != nil { // there was no body to refuse
		fctx.SetConnectionClose()
		s.fail(fctx, r, c.refused)
		return
	}
	if !slices.Contains(fiber.DefaultMethods, unsafeString(fctx.Method())) {
		s.fail(fctx, r, s.strangeMethod(fctx))
		return
	}
	s.next(fctx)
}

// begin gives the request its id.
func (s *Server) begin(fctx *fasthttp.RequestCtx) *request {
	now := time.Now()
	r := &request{id: requestID(fctx.Request.Header.Peek(headerRequestID), now), start: now, refuse: s.cfg.Refuse, hold: s.cfg.OverloadHold}
	fctx.SetUserValue(requestKey{}, r)
	fctx.Response.Header.Set(headerRequestID, r.id)
	return r
}

// admit identifies the sender of a request under /api. Its error is the rate limit's, or that another site may have sent it.
func (s *Server) admit(fctx *fasthttp.RequestCtx, r *request) error {
	path := unsafeString(fctx.URI().PathOriginal())
	if s.cfg.Auth == nil || !underAPI(path) || s.isPublic(fctx, path) || s.isSignInOrOut(fctx, path) {
		return nil
	}
	if ticket := s.ticketOf(fctx, path); ticket != "" {
		return s.useTicket(fctx, r, ticket)
	}
	key, cookie := s.presented(&fctx.Request.Header)
	if cookie {
		if err := crossOrigin(fctx, !fctx.IsGet() && !fctx.IsHead()); err != nil {
			return err
		}
	}
	r.session = cookie
	return s.cfg.Auth.open(fctx, r, key)
}

func (s *Server) isPublic(fctx *fasthttp.RequestCtx, path string) bool {
	return (fctx.IsGet() || fctx.IsHead()) && slices.Contains(s.cfg.Public, path)
}

// strangeMethod is the error for a method that Fiber does not know: it answers those by itself, as plain text.
func (s *Server) strangeMethod(fctx *fasthttp.RequestCtx) *Error {
	path := string(fctx.URI().PathOriginal())
	var allow []string
	for _, route := range s.app.GetRoutes(true) {
		if !slices.Contains(allow, route.Method) && fiber.RoutePatternMatch(path, route.Path, s.app.Config()) {
			allow = append(allow, route.Method)
		}
	}
	if allow == nil {
		return fromFiber(fiber.ErrNotFound)
	}
	e := methodNotAllowed()
	e.Headers = []Header{{fiber.HeaderAllow, strings.Join(allow, ", ")}}
	return e
}

// noteRoute remembers which route answered, for metrics and the log.
func (s *Server) noteRoute(c *fiber.Ctx) error {
	err := c.Next()
	if err == nil || !isRouterError(err) {
		requestOf(c.Context()).route = s.metrics.routeLabel(c.Route().Path)
	}
	return err
}

// isRouterError reports whether Fiber itself failed the request, because no route matched.
func isRouterError(err error) bool {
	var f *fiber.Error
	return errors.As(err, &f)
}

// fiberError writes the error that a handler or Fiber's router returned.
func (s *Server) fiberError(c *fiber.Ctx, err error) error {
	e := asError(err)
	if isRouterError(err) && e.Status == fiber.StatusNotFound && c.Path() == "/" {
		e = NotFound("There is nothing at /. The API is under /api, and /docs describes it; /readyz tells whether it is ready, /metrics how it does.")
	}
	if e.Status == fiber.StatusMethodNotAllowed && c.Method() == fiber.MethodOptions {
		c.Append(fiber.HeaderAllow, fiber.MethodOptions)
		c.Status(fiber.StatusNoContent)
		return nil
	}
	s.fail(c.Context(), requestOf(c.Context()), e)
	return nil
}

// Failed notes, for the log, a failure that a handler writes itself, and holds it back where it is one of overload: see [Config].
func Failed(c *fiber.Ctx, e *Error) {
	r := requestOf(c.Context())
	r.failure = e
	r.holdBack(c.Context(), e)
}

func (r *request) holdBack(fctx *fasthttp.RequestCtx, e *Error) {
	if e.Code != CodeOverloaded {
		return
	}
	select {
	case <-time.After(r.hold):
	case <-fctx.Done(): // the server stops
	}
}

// fail makes e the answer, whatever a handler has put there before. Headers that stand already stay.
func (s *Server) fail(fctx *fasthttp.RequestCtx, r *request, e *Error) {
	r.failure = e
	r.holdBack(fctx, e)
	resp := &fctx.Response
	resp.ResetBody()
	resp.Header.Del(fiber.HeaderContentEncoding)
	for _, h := range e.Headers {
		setExact(&resp.Header, h.Name, h.Value)
	}
	resp.SetStatusCode(e.Status)
	resp.Header.SetContentType(fiber.MIMEApplicationJSON)
	resp.SetBodyRaw(e.appendJSON(nil, r.id))
}

// end counts the request and writes its line to the log.
func (s *Server) end(fctx *fasthttp.RequestCtx, r *request) {
	took := time.Since(r.start)
	s.metrics.observe(unsafeString(fctx.Method()), r.route, fctx.Response.StatusCode(), took)
	s.access.write(fctx, r, took)
}

// serverError answers a request that never reached serve: fasthttp could not read it. The connection closes after the
// answer; what the client is still sending is drained first, so that it can read the answer.
func (s *Server) serverError(fctx *fasthttp.RequestCtx, err error) {
	r := s.begin(fctx)
	c, _ := fctx.Conn().(*conn)
	e := s.readError(fctx, c, err)
	if limited := s.admit(fctx, r); limited != nil {
		e = asError(limited)
	}
	s.fail(fctx, r, e)
	fctx.Response.SkipBody = fctx.IsHead()
	if c != nil {
		c.linger.Store(true)
	}
	s.end(fctx, r)
}

// readError says in the API's words why a request could not be read. The reason's own text may hold what was sent, the
// API key included: it goes nowhere.
func (s *Server) readError(fctx *fasthttp.RequestCtx, c *conn, err error) *Error {
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case c != nil && c.refused != nil:
		return c.refused
	case errors.As(err, &small):
		return &Error{
			Status:  fiber.StatusRequestHeaderFieldsTooLarge,
			Code:    CodeHeadersTooLarge,
			Message: fmt.Sprintf("The request line and headers are larger than %d bytes.", s.cfg.HeaderLimit),
		}
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return BodyTooLarge(s.bodyLimit(&fctx.Request.Header))
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		message := fmt.Sprintf("The request did not arrive within %v.", s.cfg.ReadTimeout)
		if c != nil && c.pace.running() {
			message = fmt.Sprintf("The body arrived too slowly: it has %v, and a second more for each %d bytes.", s.cfg.ReadTimeout, minBodyRate)
		}
		return &Error{Status: fiber.StatusRequestTimeout, Code: CodeRequestTimeout, Message: message}
	}
	return BadRequest(CodeInvalidRequest, "The request is not valid HTTP.")
}

func (s *Server) bodyLimit(h *fasthttp.RequestHeader) int {
	if len(s.cfg.BodyLimits) > 0 {
		path, _, _ := strings.Cut(unsafeString(h.RequestURI()), "?")
		if limit, ok := s.cfg.BodyLimits[path]; ok {
			return limit
		}
	}
	return s.cfg.BodyLimit
}
