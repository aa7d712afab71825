package admin

import (
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// shownKey is an API key as clients see it: without its HMACs.
type shownKey struct {
	ID            string              `json:"id"`
	Version       int64               `json:"version"`
	Name          string              `json:"name"`
	RateLimit     int                 `json:"rate_limit"`
	Scopes        []string            `json:"scopes"`
	Status        schema.APIKeyStatus `json:"status"`
	CreatedAt     string              `json:"created_at"`
	ExpiresAt     *string             `json:"expires_at"`
	PreviousUntil *string             `json:"previous_until"` // how long the key before the last rotation is valid
	LastUsed      *string             `json:"last_used"`
}

func shown(r schema.APIKeyRecord, lastUsed schema.Millis) shownKey {
	return shownKey{
		ID: r.ID, Version: r.Version, Name: r.Name, RateLimit: r.RateLimit, Scopes: r.Scopes, Status: r.Status,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: optional(r.ExpiresAt), PreviousUntil: optional(r.PreviousUntil), LastUsed: optional(lastUsed),
	}
}

func moment(at schema.Millis) string { return at.Time().UTC().Format("2006-01-02T15:04:05.000Z") }

func optional(at schema.Millis) *string {
	if at == 0 {
		return nil
	}
	return new(moment(at))
}

// answer shows an API key, with the key itself where it was just made.
func (a *Admin) answer(c *fiber.Ctx, status int, r schema.APIKeyRecord, apiKey string) error {
	var lastUsed schema.Millis
	if e := a.cfg.Keys.Own(httpapi.IdentityOf(c).Tenant, r.ID); e != nil {
		lastUsed = e.LastUsed()
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return httpapi.JSON(c, status, struct {
		Success bool `json:"success"`
		shownKey
		APIKey string `json:"api_key,omitempty"`
	}{true, shown(r, lastUsed), apiKey})
}
