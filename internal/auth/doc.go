// Package auth knows who presents an API key and how much that key may still do: the key's format, the shared secret,
// the table of all API keys, and the rate limit. It knows nothing of HTTP or Kafka, and the time is
// an argument; it measures only how long a request has waited.
//
// The invariant it keeps: an API key itself is never stored, compared or logged, only its HMAC-SHA-256 under the secret
// that all nodes share; a [Tenant] is made by authentication alone; and whatever two nodes have read of the control topic, equal prefixes give equal tables.
//
//	table := auth.NewTable(secret)
//	err := table.Apply(offset, key, value)      // each record of keypulse.apikeys, in log order, by one goroutine
//	sender, _, err := table.Lookup(presented, now) // any number of goroutines
//	d := limiter.Take(sender.KeyID, sender.RateLimit, 1, now)
//	rows := read(sender.Tenant)                    // see Tenant
package auth
