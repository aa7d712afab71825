package auth

import (
	"slices"
)

// The scopes of an API key. None includes another.
const (
	ScopeIngest = "ingest" // write events
	ScopeRead   = "read"   // read events, keys, alerts, rules
	ScopeRules  = "rules"  // change rules and alerts
	ScopeAdmin  = "admin"  // make and revoke API keys
)

// Scopes are all scopes, in the order in which documents list them.
var Scopes = [...]string{ScopeIngest, ScopeRead, ScopeRules, ScopeAdmin}

// DefaultScopes are those of an API key that names none.
func DefaultScopes() []string { return []string{ScopeIngest, ScopeRead, ScopeRules} }

// DefaultRateLimit is the limit of an API key that names none, in requests in any 60 seconds.
const DefaultRateLimit = 100

// Identity is who has authenticated with an API key, and whose data that opens. It is a copy that stays valid after the
// request.
type Identity struct {
	Tenant    Tenant
	KeyID     string // the API key's id, not the key
	Name      string
	Scopes    []string // not to be changed
	RateLimit int      // requests in any 60 seconds; 0 = no limit
}

// Allows reports whether the API key has a scope.
func (id Identity) Allows(scope string) bool { return slices.Contains(id.Scopes, scope) }
