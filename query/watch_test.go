//go:build unix

package query

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// connect makes a pair of connected sockets.
func connect(t *testing.T) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	return server, client
}

func TestWatchSeesTheClientLeave(t *testing.T) {
	server, client := connect(t)
	gone := make(chan struct{})
	w := watchClient(tls.Server(server, &tls.Config{}), func() { close(gone) })
	defer w.stop()
	if _, err := client.Write([]byte("the next request")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if isClosed(w.raw) {
		t.Error("a client that has sent its next request is held for gone")
	}
	if n, err := server.Read(buf); err != nil || string(buf[:n]) != "the next request" {
		t.Errorf("got %q, %v: the watch took what the client sent", buf[:n], err)
	}
	client.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("nobody noticed that the client has left")
	}
}

func TestWatchStops(t *testing.T) {
	server, client := connect(t)
	w := watchClient(server, func() { t.Error("gone was called after stop") })
	w.stop()
	client.Close()
	w.look()
	if pipe, _ := net.Pipe(); watchClient(pipe, nil) != nil {
		t.Error("got a watch on what is no socket")
	}
}
