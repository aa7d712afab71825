package httpapi

import (
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"keypulse/internal/auth"
	"keypulse/internal/uuid7"
)

const headerRequestID = "X-Request-Id"

const maxRequestID = 128

// request is what the server knows about the request that it serves. It hangs on the fasthttp context, so that Fiber's
// handlers and the server's own error path find the same one.
type request struct {
	id    string
	start time.Time
	route string // the pattern that matched, e.g. /api/events/{id}; "" for none
	// identity is who sent it, nil when authErr is not; entry is the API key, also one that opens nothing.
	identity *auth.Identity
	entry    *auth.Entry
	auth     *Authenticator // that identified it
	authErr  error
	session  bool   // the API key came in a session's cookie
	failure  *Error // what the answer says, nil for a success

	// The server's: see Config.
	refuse func() error
	hold   time.Duration
}

// requestKey is the user value under which a request hangs on its context.
type requestKey struct{}

func requestOf(fctx *fasthttp.RequestCtx) *request {
	r, ok := fctx.UserValue(requestKey{}).(*request)
	if !ok {
		panic("BUG: a handler runs outside httpapi.Server")
	}
	return r
}

// RequestID returns the request's id: the client's X-Request-Id where it is sane, else a UUIDv7. It is a copy.
func RequestID(c *fiber.Ctx) string { return requestOf(c.Context()).id }

// Started returns when the request had arrived.
func Started(c *fiber.Ctx) time.Time { return requestOf(c.Context()).start }

// IdentityOf returns who sent the request. It is for handlers behind [Require]; it panics elsewhere.
func IdentityOf(c *fiber.Ctx) auth.Identity {
	r := requestOf(c.Context())
	if r.identity == nil {
		panic("BUG: IdentityOf in a handler without Require")
	}
	return *r.identity
}

// SenderOf returns which API key was sent, also where it opens nothing; nil where it is none that exists.
func SenderOf(c *fiber.Ctx) *auth.Entry { return requestOf(c.Context()).entry }

// requestID takes the client's id when it is 1 to 128 of letters, digits and -_.:~+/=@, else makes a UUIDv7. So a log
// line cannot be forged through it.
func requestID(sent []byte, now time.Time) string {
	if len(sent) == 0 || len(sent) > maxRequestID {
		return string(uuid7.Append(nil, now.UnixMilli()))
	}
	for _, c := range sent {
		if !isRequestIDByte(c) {
			return string(uuid7.Append(nil, now.UnixMilli()))
		}
	}
	return string(sent)
}

func isRequestIDByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		return true
	}
	switch c {
	case '-', '_', '.', ':', '~', '+', '/', '=', '@':
		return true
	}
	return false
}
