package ingest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/broker/brokertest"
)

const benchEvent = `{"key_id":"my-signing-key-01","event_type":"signing_request","severity":"nominal","source_ip":"10.0.0.1",` +
	`"actor":"service-account@myapp.com","details":{"amount_usd":12500.5,"destination":"bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh",` +
	`"chain":"bitcoin","approvals":["alice","bob"]},"event_id":"0190a6f2-1111-7000-8000-0123456789ab"}`

// BenchmarkPost is a POST that is acknowledged by the log, over keep-alive connections, beside a handler that does
// nothing: what lies between them is ours.
func BenchmarkPost(b *testing.B) {
	u := brokertest.StartUnreliable(b, 1)
	n := startNode(b, u.Addr, nil)
	empty := serveEmpty(b)
	request := fmt.Sprintf("POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
		"Prefer: respond-async\r\nContent-Length: %d\r\n\r\n%s", n.apiKey, len(benchEvent), benchEvent)
	for name, addr := range map[string]string{"fiber-empty": empty, "post": strings.TrimPrefix(n.url, "http://")} {
		b.Run(name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			c := dial(b, addr)
			for b.Loop() {
				c.exchange(b, request)
			}
		})
		b.Run(name+"/64", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for c := dial(b, addr); pb.Next(); {
					c.exchange(b, request)
				}
			})
		})
	}
}

// serveEmpty serves a handler that does nothing and returns its address.
func serveEmpty(b *testing.B) string {
	b.Helper()
	empty := fiber.New(fiber.Config{DisableStartupMessage: true})
	empty.Post("/api/events", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusAccepted) })
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- empty.Listener(l) }()
	b.Cleanup(func() {
		if err := empty.Shutdown(); err != nil {
			b.Error(err)
		}
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return l.Addr().String()
}

// benchConn is a client's connection that costs little itself.
type benchConn struct {
	net.Conn
	in *bufio.Reader
}

func dial(b *testing.B, addr string) *benchConn {
	b.Helper()
	c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Error(err)
		return nil
	}
	b.Cleanup(func() { c.Close() })
	return &benchConn{c, bufio.NewReader(c)}
}

func (c *benchConn) exchange(b *testing.B, request string) {
	if _, err := io.WriteString(c, request); err != nil {
		b.Error(err)
		return
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusAccepted {
		b.Errorf("%d: %v", resp.StatusCode, err)
	}
}
