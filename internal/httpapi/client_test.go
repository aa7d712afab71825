package httpapi

import (
	"net"
	"net/netip"
	"testing"

	"github.com/valyala/fasthttp"
)

// TestClientAddr believes proxies that were named, and nobody else: also not a client that sends the header first, to a proxy
// that adds a line of its own.
func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		remote, want string
		lines        []string
	}{
		{"192.0.2.1", "192.0.2.1", nil},
		{"192.0.2.1", "192.0.2.1", []string{"198.51.100.7"}},
		{"10.0.0.1", "10.0.0.1", nil},
		{"10.0.0.1", "198.51.100.7", []string{"198.51.100.7"}},
		{"10.0.0.1", "198.51.100.7", []string{"203.0.113.9, 198.51.100.7, 10.2.3.4"}},
		{"10.0.0.1", "198.51.100.7", []string{"203.0.113.9", "198.51.100.7"}},
		{"10.0.0.1", "198.51.100.7", []string{"203.0.113.9", "198.51.100.7, 127.0.0.1"}},
		{"10.0.0.1", "2001:db8::1", []string{"2001:db8::1"}},
		{"10.0.0.1", "10.0.0.1", []string{"203.0.113.9", "unknown"}},
	} {
		var req fasthttp.Request
		for _, line := range c.lines {
			req.Header.Add("X-Forwarded-For", line)
		}
		var fctx fasthttp.RequestCtx
		fctx.Init(&req, &net.TCPAddr{IP: net.ParseIP(c.remote), Port: 1}, nil)
		if got := ClientAddr(&fctx, proxies); got.String() != c.want {
			t.Errorf("%s, %q: %s, want %s", c.remote, c.lines, got, c.want)
		}
	}
}
