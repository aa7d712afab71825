package httpapi

import (
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// refusalsLogged is how many lines a second tell of refused API keys and rate limits, and how many of overload. A client
// that keeps sending with a dead key, or too much, must not fill the log; the rest is counted.
const refusalsLogged = 10

// accessLog writes a line for each request.
type accessLog struct {
	log     *zap.Logger
	sampled *zap.Logger // for refusals
	level   zapcore.Level
}

// newAccessLog makes an access log; unlogged counts the lines that it leaves out. level is that of a success.
func newAccessLog(log *zap.Logger, level zapcore.Level, unlogged prometheus.Counter) *accessLog {
	count := zapcore.SamplerHook(func(_ zapcore.Entry, d zapcore.SamplingDecision) {
		if d&zapcore.LogDropped != 0 {
			unlogged.Inc()
		}
	})
	return &accessLog{log: log, level: level, sampled: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, refusalsLogged, 0, count)
	}))}
}

// check returns the line to write for an answer, nil for none.
func (a *accessLog) check(route string, status int, failure *Error) *zapcore.CheckedEntry {
	const message = "request"
	switch {
	case isProbe(route):
		return a.log.Check(zapcore.DebugLevel, message)
	case failure != nil && failure.Code == CodeOverloaded:
		return a.sampled.Check(zapcore.ErrorLevel, message)
	case status >= fiber.StatusInternalServerError:
		return a.log.Check(zapcore.ErrorLevel, message)
	case status == fiber.StatusUnauthorized, status == fiber.StatusForbidden, status == fiber.StatusTooManyRequests:
		return a.sampled.Check(zapcore.WarnLevel, message)
	case status >= fiber.StatusBadRequest:
		return a.log.Check(zapcore.InfoLevel, message)
	}
	return a.log.Check(a.level, message)
}

// isProbe reports whether a route is for machines that ask again and again.
func isProbe(route string) bool {
	switch route {
	case pathHealthz, pathReadyz, pathMetrics:
		return true
	}
	return false
}

// write writes the request's line.
func (a *accessLog) write(fctx *fasthttp.RequestCtx, r *request, took time.Duration) {
	status := fctx.Response.StatusCode()
	ce := a.check(r.route, status, r.failure)
	if ce == nil {
		return
	}
	fields := make([]zap.Field, 0, 12)
	fields = append(fields,
		zap.String("request_id", r.id),
		zap.ByteString("method", slices.Clone(fctx.Method())),
		zap.ByteString("path", slices.Clone(fctx.URI().PathOriginal())),
		zap.Int("status", status),
		zap.Duration("took", took),
		zap.Int("bytes_in", max(fctx.Request.Header.ContentLength(), 0)),
		zap.Stringer("remote", fctx.RemoteAddr()),
	)
	if r.entry != nil {
		fields = append(fields, zap.String("tenant", string(r.entry.Record.Tenant)), zap.String("api_key", r.entry.Record.ID))
	}
	if r.failure != nil {
		fields = append(fields, zap.String("code", r.failure.Code), zap.String("message", r.failure.Message))
		if r.failure.Cause != nil {
			fields = append(fields, zap.Error(r.failure.Cause))
		}
	}
	ce.Write(fields...)
}
