package query

import (
	"net/netip"
	"strconv"
	"testing"
)

func TestTimesAreRoundedUp(t *testing.T) {
	f := func(text string, want string) {
		t.Helper()
		p := &params{values: map[string]string{"since": text}}
		got, ok := p.time("since")
		if !ok || got.String() != want {
			t.Errorf("%s: got %v %v, want %s", text, got, ok, want)
		}
	}
	f("2026-04-05T12:34:00Z", "2026-04-05T12:34:00.000Z")
	f("2026-04-05T12:34:00.001Z", "2026-04-05T12:34:00.001Z")
	f("2026-04-05T12:34:00.000000001Z", "2026-04-05T12:34:00.001Z")
	f("2026-04-05T12:34:59.9999+02:00", "2026-04-05T10:35:00.000Z")
	f("0000-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z")
	f("9999-12-31T23:59:59Z", "2299-12-31T23:59:59.999Z")
}

func TestNetworkBounds(t *testing.T) {
	f := func(network, first, last string) {
		t.Helper()
		a, b := bounds(netip.MustParsePrefix(network))
		if a != netip.MustParseAddr(first) || b != netip.MustParseAddr(last) {
			t.Errorf("%s: got %v to %v, want %s to %s", network, a, b, first, last)
		}
	}
	f("10.0.0.0/8", "::ffff:10.0.0.0", "::ffff:10.255.255.255")
	f("10.1.2.0/31", "::ffff:10.1.2.0", "::ffff:10.1.2.1")
	f("0.0.0.0/0", "::ffff:0.0.0.0", "::ffff:255.255.255.255")
	f("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	f("2001:db8::/33", "2001:db8::", "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff")
}

// FuzzParams wants no value to get through that breaks its parameter's promise.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{"50", "0", "501", "nominal", "2026-04-05T12:34:00Z", "10.0.0.0/8", "::1", "fe80::1%eth0", place{}.cursor(listEvents)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		values := map[string]string{}
		for _, name := range eventParams {
			values[name] = value
		}
		p := &params{values: values}
		if limit := p.limit(); limit < 1 || limit > maxLimit || limit != defaultLimit && strconv.Itoa(limit) != value {
			t.Errorf("limit %q is read as %d", value, limit)
		}
		if m, ok := p.time("since"); ok && (m < 0 || m > maxTime) {
			t.Errorf("time %q is read as %d", value, m)
		}
		if s, ok := p.severity("severity"); ok && s.String() != value {
			t.Errorf("severity %q is read as %v", value, s)
		}
		if network, ok := p.network("source_ip"); ok {
			first, last := bounds(network)
			if !network.Contains(first.Unmap()) || !network.Contains(last.Unmap()) || first.Zone() != "" {
				t.Errorf("network %q is read as %v to %v", value, first, last)
			}
		}
	})
}
