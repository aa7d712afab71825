// Package httpapi is the HTTP foundation under ingest and query: one server on Fiber whose every answer keeps the API's
// promises, whoever produced it.
//
// The invariant it keeps: every failure, of a handler, of the router, of the HTTP parser, has the error shape, a status
// code of the API and a request id; and every answer to an authenticated request says what is left of its rate limit.
// So a handler only returns an error, and never writes one.
//
//	s := httpapi.New(httpapi.Config{Log: log, Auth: httpapi.Authenticate(table, limiter.Take, time.Now)})
//	s.App().Post("/api/events", httpapi.Require(auth.ScopeIngest), func(c *fiber.Ctx) error {
//		body, err := httpapi.Body(c, httpapi.DefaultBodyLimit)
//		if err != nil {
//			return err
//		}
//		tenant := httpapi.IdentityOf(c).Tenant
//		…
//		return httpapi.JSON(c, 201, answer)
//	})
//	err := s.Serve(listener) // until s.Shutdown(ctx)
//
// Strings and bytes that come from a request (Body, c.Params, c.Get) lie in buffers that Fiber uses again after the
// handler has returned: copy what lives longer. IdentityOf, RequestID and Params return copies.
package httpapi
