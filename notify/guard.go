package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrForbiddenAddress says that a target's address is not one of the public Internet, nor in a network that was allowed.
var ErrForbiddenAddress = errors.New("the address is not public, and in none of the networks that --webhook-networks allows")

// closed are the networks that are not the public Internet: those of IANA's special-purpose registries that are not
// globally reachable, and those that carry an IPv4 address inside, which would be reached through a gateway.
var closed = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "64:ff9b::/96", "64:ff9b:1::/48",
	"2620:4f:8000::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96", "::ffff:0:0:0/96",
)

// global is where IANA gives out addresses of IPv6: what lies elsewhere is nobody's.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// ParseNetworks reads networks in CIDR notation, separated by commas.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("parse network %q: must be an address and a length, such as 10.1.0.0/16", part)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// guard says to which addresses connections may be opened.
type guard struct {
	allowed []netip.Prefix // beside the public Internet
}

func in(networks []netip.Prefix, addr netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// isAllowed reports whether the address is in a network that somebody has named.
func (g guard) isAllowed(addr netip.Addr) bool { return in(g.allowed, addr.WithZone("").Unmap()) }

// check says whether a connection to an address may be opened.
func (g guard) check(addr netip.Addr) error {
	if g.isAllowed(addr) {
		return nil
	}
	if addr.Zone() != "" || addr.Is4In6() || in(closed, addr) || addr.Is6() && !global.Contains(addr) {
		return ErrForbiddenAddress
	}
	return nil
}

// control is for [net.Dialer]: it sees the address that the kernel is about to be given, after the name was resolved, so a
// name that resolves to another address the next time gains nothing. plain says that the connection is not encrypted: then
// only allowed networks will do.
func (g guard) control(plain bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("%s: %w", network, ErrForbiddenAddress)
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("parse %q: %w", address, ErrForbiddenAddress)
		}
		if plain && !g.isAllowed(at.Addr()) {
			return errPlain
		}
		return g.check(at.Addr())
	}
}

var errPlain = errors.New("http without TLS is for networks that --webhook-networks allows")

// dial opens connections that the guard lets through.
func (g guard) dial(plain bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second, Control: g.control(plain)}
	return d.DialContext
}

// CheckURL says what is wrong with the URL of a target. Names are looked up only when a connection is opened, and checked
// then, each time.
func CheckURL(raw string, allowed []netip.Prefix) error {
	const longest = 2048
	u, err := url.Parse(raw)
	switch {
	case len(raw) > longest:
		return fmt.Errorf("has more than %d bytes", longest)
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("must be a URL such as https://example.com/alerts")
	case u.User != nil:
		return errors.New("must not hold a user or a password")
	case u.Fragment != "":
		return errors.New("must not have a fragment (#)")
	case u.Scheme == "http" && len(allowed) == 0, u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must begin with https://")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil //nolint:nilerr // it is a name
	}
	if u.Scheme == "http" && !(guard{allowed}).isAllowed(addr) {
		return errPlain
	}
	return guard{allowed}.check(addr)
}

// ShownURL is a URL without what may be secret in it: its query, and of Slack's its path.
func ShownURL(raw string, hidePath bool) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.RawQuery, u.ForceQuery = "", false
	if hidePath {
		return u.Scheme + "://" + u.Host + "/…"
	}
	return u.String()
}
