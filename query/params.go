package query

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// The bounds of parameters.
const (
	defaultLimit = 50
	maxLimit     = 500
	maxText      = 256 // bytes of key_id, event_type, actor and the like
	// maxTime is the last millisecond that ClickHouse's DateTime64 holds: the end of 2299.
	maxTime = 10413791999999
)

// params reads a query string's parameters and collects what is wrong with them, so that one answer names all.
type params struct {
	values map[string]string
	bad    []httpapi.FieldError
}

// parseParams wants no other parameters than allowed.
func parseParams(c *fiber.Ctx, allowed ...string) (*params, error) {
	values, err := httpapi.Params(c, allowed...)
	if err != nil {
		return nil, err
	}
	return &params{values: values}, nil
}

func (p *params) refuse(name, format string, args ...any) {
	p.bad = append(p.bad, httpapi.FieldError{Field: name, Message: fmt.Sprintf(format, args...)})
}

// err is the 400 that names every bad parameter, nil when there is none.
func (p *params) err() error {
	if p.bad == nil {
		return nil
	}
	return httpapi.InvalidParameters(p.bad...)
}

// text reads a string of 1 to 256 bytes.
func (p *params) text(name string) (string, bool) {
	s, ok := p.values[name]
	if ok && (s == "" || len(s) > maxText) {
		p.refuse(name, "must be 1 to %d bytes", maxText)
		return "", false
	}
	return s, ok
}

// oneOf reads one of a few words.
func (p *params) oneOf(name string, words []string) (string, bool) {
	s, ok := p.values[name]
	if !ok || slices.Contains(words, s) {
		return s, ok
	}
	hint := ""
	if near, found := httpapi.Nearest(s, words); found {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	p.refuse(name, "must be %s%s", httpapi.Alternatives(words), hint)
	return "", false
}

// severity reads a severity by name.
func (p *params) severity(name string) (schema.Severity, bool) {
	s, ok := p.oneOf(name, schema.Severities[:])
	if !ok {
		return 0, false
	}
	return schema.ParseSeverity(s)
}

// integer reads a whole number from low to high, written in the one way that has no sign and no leading zero.
func (p *params) integer(name string, low, high int) (int, bool) {
	s, ok := p.values[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high || strconv.Itoa(n) != s {
		p.refuse(name, "must be an integer from %d to %d", low, high)
		return 0, false
	}
	return n, true
}

// limit reads the size of a page.
func (p *params) limit() int {
	if n, ok := p.integer("limit", 1, maxLimit); ok {
		return n
	}
	return defaultLimit
}

// time reads an RFC 3339 time and rounds it up to milliseconds: no stored time lies between the two. What lies outside
// of the times that can be stored is moved to their edge.
func (p *params) time(name string) (schema.Millis, bool) {
	s, ok := p.values[name]
	if !ok {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		p.refuse(name, "must be an RFC 3339 time, e.g. 2026-04-05T12:34:00.000Z (in a URL, + is written %%2B)")
		return 0, false
	}
	m := schema.MillisOf(t.Add(time.Millisecond - time.Nanosecond))
	return min(max(m, 0), maxTime), true
}

// network reads an IP address, or a network in CIDR notation.
func (p *params) network(name string) (netip.Prefix, bool) {
	s, ok := p.values[name]
	if !ok {
		return netip.Prefix{}, false
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.Masked(), true
	}
	p.refuse(name, "must be an IP address or a network such as 10.0.0.0/8")
	return netip.Prefix{}, false
}

// cursor reads the place at which a page starts.
func (p *params) cursor(l list) (place, bool) {
	s, ok := p.values["cursor"]
	if !ok {
		return place{}, false
	}
	at, err := parseCursor(l, s)
	if err != nil {
		p.refuse("cursor", "%v", err)
		return place{}, false
	}
	return at, true
}
