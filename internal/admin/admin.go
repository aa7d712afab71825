// Package admin is the HTTP API that makes, changes, rotates and revokes API keys. It is served apart from the API for
// clients, on a listener of its own.
//
// The invariant it keeps: an API key with the scope admin sees and changes the API keys of its own tenant only, and an
// answer of success says what every node will read.
//
//	a := admin.New(admin.Config{Keys: table, Secret: secret, Append: appendKey, Log: log})
//	a.Register(server.App())
package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// Path is where API keys are; one of them is at Path/{id}.
const Path = "/api/admin/api-keys"

// SessionPath is where the owner's browser finds the same on the clients' listener.
const SessionPath = httpapi.SessionPath + "/api-keys"

// MaxOverlap bounds how long two keys may be valid at once: who needs longer has forgotten the old one somewhere.
const MaxOverlap = 90 * 24 * time.Hour

// writeTimeout bounds a change, from the first try to write it until this node has read it back.
const writeTimeout = 10 * time.Second

const codeOutcomeUnknown = "outcome_unknown"

// Config is what an [Admin] works with.
type Config struct {
	Keys   *auth.Table // fed by the caller
	Secret *auth.Secret
	// Append writes a version of an API key to the control topic and returns the offset it got.
	Append func(ctx context.Context, r schema.APIKeyRecord) (int64, error)
	// Audit writes a line of the audit.
	Audit func(ctx context.Context, r schema.AuditRecord) error
	Log   *zap.Logger
	Now   func() time.Time // default time.Now
}

// Admin answers the requests under [Path].
type Admin struct {
	cfg Config
	// refusals are the lines about refused requests that wait to be written. A full queue drops new ones, and counts them.
	refusals chan schema.AuditRecord
	dropped  prometheus.Counter
}

// New makes an Admin.
func New(cfg Config) *Admin {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Admin{
		cfg: cfg, refusals: make(chan schema.AuditRecord, maxRefusals),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keypulse_admin_unaudited_total", Help: "Refused requests of the admin API that the audit does not have, because too many came at once.",
		}),
	}
}

// Register puts the routes on app.
func (a *Admin) Register(app fiber.Router) {
	a.register(app, Path, func(c *fiber.Ctx) error { return c.Next() })
}

// RegisterSessions puts the routes on app a second time, under [SessionPath], for who has signed in with an admin key. Who sends
// one in the Authorization header is a program, and finds nothing there.
func (a *Admin) RegisterSessions(app fiber.Router) {
	a.register(app, SessionPath, httpapi.RequireSession)
}

func (a *Admin) register(app fiber.Router, path string, sender fiber.Handler) {
	need := a.noteRefusal(httpapi.Require(auth.ScopeAdmin))
	app.Get(path, need, params(listParams...), sender, a.list)
	app.Post(path, need, params(), sender, a.create)
	app.Get(path+"/:id", need, params(), sender, a.show)
	app.Patch(path+"/:id", need, params(), sender, a.change)
	app.Post(path+"/:id/rotate", need, params(), sender, a.rotate)
	app.Post(path+"/:id/revoke", need, params(), sender, a.revoke)
}

// params lets requests pass that have no other parameters than those.
func params(allowed ...string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if _, err := httpapi.Params(c, allowed...); err != nil {
			return err
		}
		return c.Next()
	}
}

// NewKey makes an API key and the first version of its record. The key itself is in no record.
func NewKey(secret *auth.Secret, r schema.APIKeyRecord, now time.Time) (schema.APIKeyRecord, string) {
	apiKey := auth.NewKey(rand.Reader)
	r.ID, r.Version, r.Status, r.CreatedAt = uuid.Must(uuid.NewV7()).String(), 1, schema.APIKeyActive, schema.MillisOf(now)
	r.HMAC, r.Secret = secret.Digest(apiKey).String(), secret.Fingerprint()
	return r, apiKey
}

// Rotate is the next version of r, with a new key beside which the old one is valid until the given time, and that key.
func Rotate(secret *auth.Secret, r schema.APIKeyRecord, until time.Time) (schema.APIKeyRecord, string) {
	apiKey := auth.NewKey(rand.Reader)
	r.Version++
	r.PreviousHMAC, r.PreviousUntil = r.HMAC, schema.MillisOf(until)
	r.HMAC, r.Secret = secret.Digest(apiKey).String(), secret.Fingerprint()
	return r, apiKey
}

func (a *Admin) show(c *fiber.Ctx) error {
	e, err := a.key(c)
	if err != nil {
		return err
	}
	return a.answer(c, fiber.StatusOK, e.Record, "")
}

func (a *Admin) create(c *fiber.Ctx) error {
	var body struct {
		Name      string     `json:"name"`
		RateLimit *int       `json:"rate_limit"`
		Scopes    []string   `json:"scopes"`
		ExpiresAt *time.Time `json:"expires_at"`
	}
	if err := read(c, &body); err != nil {
		return err
	}
	r := schema.APIKeyRecord{Tenant: httpapi.IdentityOf(c).Tenant.Name(), Name: body.Name, RateLimit: auth.DefaultRateLimit, Scopes: body.Scopes}
	if body.RateLimit != nil {
		r.RateLimit = *body.RateLimit
	}
	if body.Scopes == nil {
		r.Scopes = auth.DefaultScopes()
	}
	if body.ExpiresAt != nil {
		r.ExpiresAt = schema.MillisOf(*body.ExpiresAt)
	}
	if err := a.check(r); err != nil {
		return err
	}
	if err := a.rightSecret(); err != nil {
		return err
	}
	r, apiKey := NewKey(a.cfg.Secret, r, a.cfg.Now())
	if err := a.write(c, r, schema.AuditCreate); err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, strings.Clone(c.Path())+"/"+r.ID)
	return a.answer(c, fiber.StatusCreated, r, apiKey)
}

// change is PATCH: members that are left out stay as they are. The body's version is the one that it replaces.
func (a *Admin) change(c *fiber.Ctx) error {
	e, err := a.changeable(c)
	if err != nil {
		return err
	}
	var body struct {
		Version   int64                `json:"version"`
		Name      *string              `json:"name"`
		RateLimit *int                 `json:"rate_limit"`
		Scopes    []string             `json:"scopes"`
		Status    *schema.APIKeyStatus `json:"status"`
	}
	if err := read(c, &body); err != nil {
		return err
	}
	r := e.Record
	if body.Version != r.Version {
		return conflict(r)
	}
	r.Version++
	if body.Name != nil {
		r.Name = *body.Name
	}
	if body.RateLimit != nil {
		r.RateLimit = *body.RateLimit
	}
	if body.Scopes != nil {
		r.Scopes = body.Scopes
	}
	if body.Status != nil {
		if *body.Status != schema.APIKeyActive && *body.Status != schema.APIKeyInactive {
			return httpapi.InvalidFields(httpapi.FieldError{Field: "status", Message: "must be active or inactive; revoke has a path of its own"})
		}
		r.Status = *body.Status
	}
	if err := a.check(r); err != nil {
		return err
	}
	if err := a.write(c, r, schema.AuditChange); err != nil {
		return err
	}
	return a.answer(c, fiber.StatusOK, r, "")
}

func (a *Admin) rotate(c *fiber.Ctx) error {
	e, err := a.changeable(c)
	if err != nil {
		return err
	}
	body := struct {
		OverlapSeconds *int64 `json:"overlap_seconds"`
	}{}
	if err := read(c, &body); err != nil {
		return err
	}
	overlap := 24 * time.Hour
	if s := body.OverlapSeconds; s != nil {
		if *s < 0 || *s > int64(MaxOverlap/time.Second) {
			return httpapi.InvalidFields(httpapi.FieldError{Field: "overlap_seconds", Message: fmt.Sprintf("must be 0 to %d", MaxOverlap/time.Second)})
		}
		overlap = time.Duration(*s) * time.Second
	}
	if err := a.rightSecret(); err != nil {
		return err
	}
	if ends := e.Record.ExpiresAt; ends > 0 && ends <= schema.MillisOf(a.cfg.Now()) {
		return httpapi.Conflict("The API key has expired, and a new one under its id would be, too: create one.")
	}
	r, apiKey := Rotate(a.cfg.Secret, e.Record, a.cfg.Now().Add(overlap))
	if err := a.write(c, r, schema.AuditRotate); err != nil {
		return err
	}
	return a.answer(c, fiber.StatusOK, r, apiKey)
}

// revoke is final, and may be said again.
func (a *Admin) revoke(c *fiber.Ctx) error {
	e, err := a.key(c)
	if err != nil {
		return err
	}
	r := e.Record
	if r.Status != schema.APIKeyRevoked {
		r.Version++
		r.Status = schema.APIKeyRevoked
		if err := a.write(c, r, schema.AuditRevoke); err != nil {
			return err
		}
	}
	return a.answer(c, fiber.StatusOK, r, "")
}

// key is the API key that the path names. Another tenant's is not there.
func (a *Admin) key(c *fiber.Ctx) (*auth.Entry, error) {
	e := a.cfg.Keys.Own(httpapi.IdentityOf(c).Tenant, strings.Clone(c.Params("id")))
	if e == nil {
		return nil, httpapi.NotFound("There is no API key with this id.")
	}
	return e, nil
}

func (a *Admin) changeable(c *fiber.Ctx) (*auth.Entry, error) {
	e, err := a.key(c)
	if err == nil && e.Record.Status == schema.APIKeyRevoked {
		return nil, httpapi.Conflict("The API key is revoked, which is final.")
	}
	return e, err
}

// rightSecret refuses to make keys that no other node would know.
func (a *Admin) rightSecret() error {
	if err := a.cfg.Keys.CheckSecret(); err != nil {
		return httpapi.Internal(err)
	}
	return nil
}

// check says what is wrong with an API key.
func (a *Admin) check(r schema.APIKeyRecord) error {
	var bad []httpapi.FieldError
	if r.Name == "" || len(r.Name) > 256 {
		bad = append(bad, httpapi.FieldError{Field: "name", Message: "must be 1 to 256 bytes"})
	}
	if r.RateLimit < 0 {
		bad = append(bad, httpapi.FieldError{Field: "rate_limit", Message: "must be 0 (no limit) or more"})
	}
	if len(r.Scopes) == 0 {
		bad = append(bad, httpapi.FieldError{Field: "scopes", Message: "must name at least one of " + strings.Join(auth.Scopes[:], ", ")})
	}
	for _, scope := range r.Scopes {
		if !slices.Contains(auth.Scopes[:], scope) {
			bad = append(bad, httpapi.FieldError{Field: "scopes", Message: fmt.Sprintf("%q is none of %s", scope, strings.Join(auth.Scopes[:], ", "))})
		}
	}
	if r.Version == 0 && r.ExpiresAt != 0 && r.ExpiresAt <= schema.MillisOf(a.cfg.Now()) {
		bad = append(bad, httpapi.FieldError{Field: "expires_at", Message: "is in the past"})
	}
	if bad != nil {
		return httpapi.InvalidFields(bad...)
	}
	return nil
}

// write writes a version and reads it back: of two that replace the same one, the first in the log counts. The audit has
// a line before, so that no change goes without one, and one after.
func (a *Admin) write(c *fiber.Ctx, r schema.APIKeyRecord, action string) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	line := a.line(c, schema.AuditAPIKey(action, r, schema.MillisOf(a.cfg.Now())))
	line.Outcome = schema.AuditBegun
	if err := a.cfg.Audit(ctx, line); err != nil {
		e := httpapi.Unavailable(httpapi.CodeUnavailable, "The log does not answer; nothing was done.", 1)
		e.Cause = fmt.Errorf("audit: %w", err)
		return e
	}
	outcome, err := a.append(ctx, httpapi.IdentityOf(c).Tenant, r)
	line.Outcome = outcome
	if auditErr := a.cfg.Audit(ctx, line); auditErr != nil {
		a.cfg.Log.Error("the audit does not have the outcome of a change", zap.String("api_key", r.ID), zap.String("outcome", string(outcome)), zap.Error(auditErr))
	}
	return err
}

func (a *Admin) append(ctx context.Context, tenant auth.Tenant, r schema.APIKeyRecord) (schema.AuditOutcome, error) {
	offset, err := a.cfg.Append(ctx, r)
	if err == nil {
		err = a.cfg.Keys.Wait(ctx, offset+1)
	}
	if err != nil {
		e := httpapi.Unavailable(codeOutcomeUnknown, "The change may or may not have been made: read the API key and try again.", 1)
		e.Cause = fmt.Errorf("write API key %s: %w", r.ID, err)
		return schema.AuditUnknown, e
	}
	now := a.cfg.Keys.Own(tenant, r.ID)
	if now == nil {
		return schema.AuditUnknown, httpapi.Internal(errors.New("API key " + r.ID + " was written and is not there"))
	}
	if n := now.Record; n.Version != r.Version || n.HMAC != r.HMAC || n.Status != r.Status {
		return schema.AuditConflict, conflict(n)
	}
	return schema.AuditDone, nil
}

func conflict(r schema.APIKeyRecord) error {
	e := httpapi.Conflict(fmt.Sprintf("The API key is at version %d: read it again.", r.Version))
	e.Extra = map[string]any{"current_version": r.Version}
	return e
}
