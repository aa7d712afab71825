package httpapi

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"keypulse/internal/auth"
)

// apiPrefix is where authentication and the rate limit apply.
const apiPrefix = "/api/"

// Authenticator identifies the API key of each request under /api and takes one request from its limit.
type Authenticator struct {
	table *auth.Table
	take  auth.TakeFunc
	now   func() time.Time
}

// Authenticate makes an Authenticator. take is called once for each authenticated request, from many goroutines.
func Authenticate(table *auth.Table, take auth.TakeFunc, now func() time.Time) *Authenticator {
	return &Authenticator{table: table, take: take, now: now}
}

// open finds out whose API key was presented and takes one request from its limit. Its error is the 429; that no key, or a
// refused one, was presented is remembered for Require, because it matters only to routes that want a key.
func (a *Authenticator) open(fctx *fasthttp.RequestCtx, r *request, presented string) error {
	r.auth = a
	r.identity, r.entry, r.authErr = a.table.Lookup(presented, a.now())
	return a.charge(fctx, r)
}

// charge takes one request from the limit of who is let in.
func (a *Authenticator) charge(fctx *fasthttp.RequestCtx, r *request) error {
	if r.authErr != nil {
		return nil //nolint:nilerr // Require answers it, where the route wants a key
	}
	d := a.take(r.identity.KeyID, r.identity.RateLimit, 1, a.now())
	setLimitHeaders(&fctx.Response.Header, d)
	if !d.Allowed {
		return rateLimited(d)
	}
	return nil
}

// Charge takes n more requests from the sender's limit, for a request that does the work of several. Its error is the
// 429, and then it took none.
func Charge(c *fiber.Ctx, n int) error {
	if n <= 0 {
		return nil
	}
	r := requestOf(c.Context())
	d := r.auth.take(r.identity.KeyID, r.identity.RateLimit, n, r.auth.now())
	setLimitHeaders(&c.Response().Header, d)
	if !d.Allowed {
		return rateLimited(d)
	}
	return nil
}

// bearer returns the token of the request's one Authorization header, "" where there is none. It lies in the request's
// buffer.
func bearer(h *fasthttp.RequestHeader) string {
	all := h.PeekAll(fiber.HeaderAuthorization)
	if len(all) != 1 {
		return ""
	}
	scheme, token, ok := bytes.Cut(all[0], []byte(" "))
	if !ok || !bytes.EqualFold(scheme, []byte("Bearer")) {
		return ""
	}
	return unsafeString(bytes.TrimSpace(token))
}

// setLimitHeaders says what is left. The names are written as the API's reference spells them: Set would rewrite them.
func setLimitHeaders(h *fasthttp.ResponseHeader, d auth.Decision) {
	setExact(h, "X-RateLimit-Limit", strconv.Itoa(d.Limit))
	if d.Limit == 0 {
		return
	}
	setExact(h, "X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	setExact(h, "X-RateLimit-Reset", strconv.Itoa(d.Reset))

	// The same in the words of the IETF draft (draft-ietf-httpapi-ratelimit-headers-10).
	var room [64]byte
	b := strconv.AppendInt(append(room[:0], `"default";q=`...), int64(d.Limit), 10)
	h.SetCanonical([]byte("RateLimit-Policy"), append(b, ";w=60"...))
	b = strconv.AppendInt(append(room[:0], `"default";r=`...), int64(d.Remaining), 10)
	h.SetCanonical([]byte("RateLimit"), strconv.AppendInt(append(b, ";t="...), int64(d.Reset), 10))
}

// setExact sets a header whose name keeps its spelling.
func setExact(h *fasthttp.ResponseHeader, name, value string) {
	h.SetCanonical([]byte(name), []byte(value))
}

// Require lets only API keys with a scope pass: no valid key is 401, a refused one 403, a missing scope 403. What writes
// is 503 while [Config] refuses it.
func Require(scope string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		r := requestOf(c.Context())
		switch {
		case r.identity == nil:
			return keyError(r.authErr)
		case !r.identity.Allows(scope):
			return InsufficientScope(scope)
		}
		if scope != auth.ScopeIngest && writes(c) {
			if err := r.refuse(); err != nil {
				return StorageFull(err)
			}
		}
		return c.Next()
	}
}

// StillValid returns a function that reports whether the request's API key still opens anything, for an answer that is
// written for long after the request.
func StillValid(c *fiber.Ctx) func() bool {
	a, id := requestOf(c.Context()).auth, IdentityOf(c).KeyID
	return func() bool { return a.table.Usable(id, a.now()) == nil }
}

// keyError says why no API key lets a request in.
func keyError(err error) *Error {
	if !errors.Is(err, auth.ErrRefused) {
		return Unauthorized()
	}
	e := Forbidden("This API key is revoked, inactive or expired.")
	e.Cause = err
	return e
}

// writes reports whether a request's method is one that changes something.
func writes(c *fiber.Ctx) bool {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return false
	}
	return true
}

// underAPI reports whether authentication applies to a path.
func underAPI(path string) bool {
	return strings.HasPrefix(path, apiPrefix) || path == apiPrefix[:len(apiPrefix)-1]
}
