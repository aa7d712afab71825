package stream

import (
	"net/netip"
	"slices"

	"keypulse/internal/judged"
	"keypulse/schema"
)

// Filter says which rows a subscriber wants, in the terms of GET /api/events. A zero member lets everything pass. An
// alert passes with the event that raised it.
type Filter struct {
	KeyID    string
	Type     string
	Severity schema.Severity
	Actor    string
	Network  netip.Prefix // of source_ip; an IPv6 network holds no IPv4 address
	MinScore int
	// Details are what events have at paths of their details: all must hold. Each is called with the event's details,
	// empty for none, by one goroutine at a time.
	Details []func(details []byte) bool
}

// passes reports whether a subscriber wants the row. A duplicate shows to nobody.
func (f *Filter) passes(r *judged.Row) bool {
	switch {
	case r.DuplicateOf != 0,
		f.KeyID != "" && f.KeyID != r.KeyID,
		f.Type != "" && f.Type != r.Type,
		f.Severity != 0 && f.Severity != r.Severity,
		f.Actor != "" && f.Actor != r.Actor,
		f.MinScore > r.Score,
		f.Network.IsValid() && !inNetwork(f.Network, r.SourceIP):
		return false
	}
	return !slices.ContainsFunc(f.Details, func(holds func([]byte) bool) bool { return !holds(r.Details) })
}

func inNetwork(network netip.Prefix, address string) bool {
	addr, err := netip.ParseAddr(address)
	return err == nil && network.Contains(addr)
}
