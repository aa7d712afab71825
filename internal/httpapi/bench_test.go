package httpapi

import (
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// BenchmarkServe is what the server adds to a bare Fiber handler: request id, authentication, rate limit, metrics.
func BenchmarkServe(b *testing.B) {
	secret := auth.NewSecret()
	table, key := auth.NewTable(secret), auth.NewKey(rand.Reader)
	record, _ := json.Marshal(schema.APIKeyRecord{
		ID: "ak_1", Version: 1, Tenant: "acme", HMAC: secret.Digest(key).String(), RateLimit: 0,
		Scopes: auth.DefaultScopes(), Status: schema.APIKeyActive,
	})
	if err := table.Apply(0, []byte("ak_1"), record); err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"success":true}`)
	run := func(name string, handler fasthttp.RequestHandler) {
		b.Run(name, func(b *testing.B) {
			fctx := new(fasthttp.RequestCtx)
			fctx.Request.Header.SetMethod("POST")
			fctx.Request.SetRequestURI("/api/events")
			fctx.Request.Header.Set("Host", "x")
			fctx.Request.Header.Set("Content-Type", "application/json")
			fctx.Request.Header.Set("Authorization", "Bearer "+key)
			b.ReportAllocs()
			for b.Loop() {
				handler(fctx)
				if fctx.Response.StatusCode() != 201 {
					b.Fatal(fctx.Response.StatusCode())
				}
				fctx.Response.Reset()
				fctx.ResetUserValues()
			}
		})
	}
	bare := fiber.New()
	bare.Post("/api/events", func(c *fiber.Ctx) error { return Raw(c, 201, body) })
	run("fiber", bare.Handler())

	s := New(Config{AccessLevel: -1, Auth: Authenticate(table, auth.NewLimiter().Take, time.Now)})
	s.App().Post("/api/events", Require(auth.ScopeIngest), func(c *fiber.Ctx) error { return Raw(c, 201, body) })
	s.App().Handler()
	run("ours", s.serve)
}
