// Package authtest lets tests act on behalf of tenants. It makes no right of its own: it gives a tenant an API key and
// authenticates with it, as every request does.
//
//	hub.Subscribe(ctx, authtest.Tenant(t, "demo"), stream.Filter{}, nil)
package authtest

import (
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// Tenant authenticates as a tenant.
func Tenant(t testing.TB, name schema.Tenant) auth.Tenant {
	t.Helper()
	secret := auth.NewSecret()
	table, apiKey := auth.NewTable(secret), auth.NewKey(rand.Reader)
	record := schema.APIKeyRecord{
		ID: "key-of-" + string(name), Version: 1, Tenant: name, Name: "test", HMAC: secret.Digest(apiKey).String(),
		Scopes: auth.Scopes[:], Status: schema.APIKeyActive,
	}
	value, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Apply(0, []byte(record.ID), value); err != nil {
		t.Fatal(err)
	}
	sender, _, err := table.Lookup(apiKey, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sender.Tenant
}
