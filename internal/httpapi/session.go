package httpapi

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"keypulse/internal/auth"
)

// A session is an API key in a cookie that no script can read and no other site can have sent. There is nothing else to it:
// no node stores sessions, each request is looked up as if it had brought the key itself, so a session has the key's scopes
// and its rate limit, and ends with it.

// SessionPath is where a browser signs in, asks who it is, and signs out.
const SessionPath = "/api/session"

const (
	sessionCookie = "keypulse_session"
	// sessionAge is for how long a browser keeps the cookie: a working day.
	sessionAge = 12 * time.Hour
	// signInLimit is how many tries to sign in each address has in any 60 seconds, on each node.
	signInLimit = 20
	signInBody  = 4 << 10
)

// CodeCrossOrigin is the code of a request with a session's cookie that does not come from our own page.
const CodeCrossOrigin = "cross_origin"

// registerSession puts the session's routes on the server.
func (s *Server) registerSession() {
	s.signIns = auth.NewLimiter()
	s.app.Post(SessionPath, s.signIn)
	s.app.Get(SessionPath, s.showSession)
	s.app.Delete(SessionPath, s.signOut)
}

// presented returns the API key that a request brings: that of its Authorization header or, where it has no such header
// and the server takes sessions, that of its cookie. The text lies in the request's buffer.
func (s *Server) presented(h *fasthttp.RequestHeader) (key string, cookie bool) {
	if !s.cfg.Sessions || len(h.PeekAll(fiber.HeaderAuthorization)) > 0 {
		return bearer(h), false
	}
	value := h.Cookie(sessionCookie)
	return unsafeString(value), len(value) > 0
}

// isSignInOrOut reports whether a request is to be let in whatever its cookie says.
func (s *Server) isSignInOrOut(fctx *fasthttp.RequestCtx, path string) bool {
	return s.cfg.Sessions && path == SessionPath && (fctx.IsPost() || fctx.IsDelete())
}

// crossOrigin is the error for a request with a cookie that another site's page may have sent, nil when none can have.
// Browsers say where a request comes from in Sec-Fetch-Site, or, over plain HTTP, in the Origin of everything that is not
// a GET or HEAD. What says neither, and would change something, is refused.
func crossOrigin(fctx *fasthttp.RequestCtx, proof bool) *Error {
	h := &fctx.Request.Header
	refused := &Error{Status: fiber.StatusForbidden, Code: CodeCrossOrigin, Message: "A request with a session must come from the server's own page."}
	switch site := h.Peek("Sec-Fetch-Site"); string(site) {
	case "same-origin", "none":
		return nil
	case "":
	default:
		return refused
	}
	origin := h.Peek(fiber.HeaderOrigin)
	if len(origin) == 0 && !proof {
		return nil
	}
	_, host, _ := bytes.Cut(origin, []byte("://"))
	if len(origin) == 0 || !bytes.EqualFold(host, h.Host()) {
		return refused
	}
	return nil
}

// signIn is POST /api/session: an API key for a cookie.
func (s *Server) signIn(c *fiber.Ctx) error {
	if err := NoParams(c); err != nil {
		return err
	}
	if err := crossOrigin(c.Context(), false); err != nil {
		return err
	}
	a := s.cfg.Auth
	now := a.now()
	if d := s.signIns.Take(signInAddress(ClientAddr(c.Context(), s.cfg.Proxies)), signInLimit, 1, now); !d.Allowed {
		after := strconv.Itoa(d.RetryAfter)
		return &Error{
			Status: fiber.StatusTooManyRequests, Code: CodeRateLimited,
			Message: "Too many attempts to sign in. Retry in " + after + " s.", Headers: []Header{{fiber.HeaderRetryAfter, after}},
		}
	}
	body, err := Body(c, signInBody)
	if err != nil {
		return err
	}
	var sent struct {
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal(body, &sent, json.RejectUnknownMembers(true)); err != nil {
		// The reason's text may hold what was sent.
		return BadRequest(CodeMalformedJSON, `The body must be {"api_key": "kp_live_…"}.`)
	}
	r := requestOf(c.Context())
	if err := a.open(c.Context(), r, sent.APIKey); err != nil {
		return err
	}
	if r.authErr != nil {
		return keyError(r.authErr)
	}
	setSessionCookie(c.Context(), sent.APIKey, int(sessionAge/time.Second))
	return s.answerSession(c, fiber.StatusCreated)
}

// signInAddress is what counts as one sender: an address, of IPv6 its network of 64 bits, which one host has for itself.
func signInAddress(addr netip.Addr) string {
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}

// showSession is GET /api/session: who the sender is, whatever its scopes.
func (s *Server) showSession(c *fiber.Ctx) error {
	if r := requestOf(c.Context()); r.identity == nil {
		return keyError(r.authErr)
	}
	if err := NoParams(c); err != nil {
		return err
	}
	return s.answerSession(c, fiber.StatusOK)
}

func (s *Server) answerSession(c *fiber.Ctx, status int) error {
	id := IdentityOf(c)
	c.Set(fiber.HeaderCacheControl, "no-store")
	return JSON(c, status, struct {
		Success   bool     `json:"success"`
		Tenant    string   `json:"tenant"`
		APIKeyID  string   `json:"api_key_id"`
		Name      string   `json:"name"`
		Scopes    []string `json:"scopes"`
		RateLimit int      `json:"rate_limit"`
	}{true, id.Tenant.String(), id.KeyID, id.Name, append([]string{}, id.Scopes...), id.RateLimit})
}

// RequireSession lets only requests pass that brought a session's cookie; for others there is nothing at the path.
func RequireSession(c *fiber.Ctx) error {
	if !requestOf(c.Context()).session {
		return NotFound("There is nothing at this path for an Authorization header: the admin API has a listener of its own.")
	}
	return c.Next()
}

// signOut is DELETE /api/session: it takes the cookie away. The API key stays what it is.
func (s *Server) signOut(c *fiber.Ctx) error {
	if err := NoParams(c); err != nil {
		return err
	}
	if err := crossOrigin(c.Context(), true); err != nil {
		return err
	}
	setSessionCookie(c.Context(), "", -1)
	c.Status(fiber.StatusNoContent)
	return nil
}

// setSessionCookie sets the cookie, or with a negative age takes it away.
func setSessionCookie(fctx *fasthttp.RequestCtx, key string, age int) {
	var b strings.Builder
	b.WriteString(sessionCookie + "=" + key + "; Path=/; HttpOnly; SameSite=Strict; Max-Age=" + strconv.Itoa(max(age, 0)))
	if overTLS(fctx) {
		b.WriteString("; Secure")
	}
	fctx.Response.Header.Add(fiber.HeaderSetCookie, b.String())
}

// overTLS reports whether the client speaks TLS, with us or with a proxy that says so. A client that lies gets a cookie that
// it will not send.
func overTLS(fctx *fasthttp.RequestCtx) bool {
	return fctx.IsTLS() || bytes.EqualFold(fctx.Request.Header.Peek(fiber.HeaderXForwardedProto), []byte("https"))
}

// useTicket lets the sender of a one-time ticket in as the API key that it was made for.
func (s *Server) useTicket(fctx *fasthttp.RequestCtx, r *request, text string) error {
	a := s.cfg.Auth
	r.auth = a
	var err error
	r.identity, r.entry, err = a.table.LookupTicket(text, a.now(), s.cfg.UseTicket)
	switch {
	case errors.Is(err, auth.ErrTicketUsed):
		err = auth.ErrUnknown
	case err != nil && !errors.Is(err, auth.ErrUnknown) && !errors.Is(err, auth.ErrRefused):
		failure := Unavailable(CodeUnavailable, "The log does not answer; the ticket may be used. Make another one.", 1)
		failure.Cause = err
		return failure
	}
	r.authErr = err
	return a.charge(fctx, r)
}

// ticketOf returns the ticket of a request for the stream, "" for none. It lies in the request's buffer.
func (s *Server) ticketOf(fctx *fasthttp.RequestCtx, path string) string {
	if s.cfg.UseTicket == nil || path != StreamPath || !fctx.IsGet() {
		return ""
	}
	return unsafeString(fctx.QueryArgs().Peek("ticket"))
}

// StreamPath is the one path that a ticket opens.
const StreamPath = "/api/stream"
