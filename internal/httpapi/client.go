package httpapi

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// ClientAddr is the address that a request comes from: behind proxies that are believed, what they say. It is the zero Addr
// where nothing is known. Some proxies add a line of their own after the one that the client has sent, so all count, the last
// one's end first.
func ClientAddr(fctx *fasthttp.RequestCtx, proxies []netip.Prefix) netip.Addr {
	at, err := netip.ParseAddrPort(fctx.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap()
	var hops []string
	for _, line := range fctx.Request.Header.PeekAll(fiber.HeaderXForwardedFor) {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	believed := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	for i := len(hops) - 1; i >= 0 && believed(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr
}
