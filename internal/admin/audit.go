package admin

import (
	"context"
	"errors"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// maxRefusals bounds the lines about refused requests that wait.
const maxRefusals = 256

// Metrics are what the Admin counts.
func (a *Admin) Metrics() []prometheus.Collector { return []prometheus.Collector{a.dropped} }

// line says who asked, and from where.
func (a *Admin) line(c *fiber.Ctx, r schema.AuditRecord) schema.AuditRecord {
	if sender := httpapi.SenderOf(c); sender != nil {
		r.By = sender.Record.ID
		if r.Tenant == "" {
			r.Tenant = sender.Record.Tenant
		}
	}
	r.Remote, r.RequestID = c.Context().RemoteAddr().String(), httpapi.RequestID(c)
	return r
}

// noteRefusal has the audit know whom need refuses.
func (a *Admin) noteRefusal(need fiber.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		err := need(c)
		var e *httpapi.Error
		if !errors.As(err, &e) || e.Status != fiber.StatusUnauthorized && e.Status != fiber.StatusForbidden {
			return err
		}
		r := a.line(c, schema.AuditRecord{
			At: schema.MillisOf(a.cfg.Now()), Action: schema.AuditRequest, Outcome: schema.AuditRefused,
			Target: strings.Clone(c.Method()) + " " + strings.Clone(c.Path()), Changes: e.Code,
		})
		select {
		case a.refusals <- r:
		default:
			a.dropped.Inc()
		}
		return err
	}
}

// Run writes the lines about refused requests until ctx is done, and then those that wait.
func (a *Admin) Run(ctx context.Context) error {
	for {
		select {
		case r := <-a.refusals:
			a.writeRefusal(ctx, r)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout/10)
			defer cancel()
			for len(a.refusals) > 0 && last.Err() == nil {
				a.writeRefusal(last, <-a.refusals)
			}
			return ctx.Err()
		}
	}
}

func (a *Admin) writeRefusal(ctx context.Context, r schema.AuditRecord) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := a.cfg.Audit(ctx, r); err != nil {
		a.dropped.Inc()
		a.cfg.Log.Warn("the audit does not have a refused request", zap.Error(err))
	}
}
