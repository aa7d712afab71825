package brokertest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// spoilable puts a network before the broker, at an address that the broker advertises, until the test ends.
func (k *Kafka) spoilable(t testing.TB, seed uint64) *Network {
	t.Helper()
	behind, err := os.ReadFile(k.file("proxied"))
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{Addr: k.proxied.Addr().String()}
	n.seed(seed)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	l := k.proxied.(*net.TCPListener)
	wg.Go(func() {
		for ctx.Err() == nil {
			c, err := unreliableListener{l, n}.Accept()
			if err != nil {
				continue // the end, or out of descriptors for a moment
			}
			wg.Go(func() { n.forward(ctx, c, string(behind)) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.SetDeadline(time.Now()) // a listener takes it
		n.Cut()
		wg.Wait()
		_ = l.SetDeadline(time.Time{})
	})
	return n
}

// forward hands a client's requests to the broker, one at a time as kafka-go sends them, and its answers back.
func (n *Network) forward(ctx context.Context, client net.Conn, addr string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { server.Close(); client.Close() })()
	for {
		request, err := readFrame(client)
		if err != nil {
			return
		}
		if err := n.ask(client, server, request); err != nil {
			return
		}
	}
}

// ask gives a request to the broker. Until the broker has answered, the request counts as delayed: it may still arrive.
func (n *Network) ask(client, server net.Conn, request []byte) error {
	n.delayed.Add(1)
	_, err := server.Write(request)
	var answer []byte
	if err == nil {
		answer, err = readFrame(server)
	}
	n.delayed.Add(-1)
	if err != nil {
		return err
	}
	_, err = client.Write(answer)
	return err
}

var errFrame = errors.New("not a message of Kafka's")

// readFrame reads a message with the four bytes of its size.
func readFrame(r io.Reader) ([]byte, error) {
	size := make([]byte, 4)
	if _, err := io.ReadFull(r, size); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size)
	if n > 64<<20 {
		return nil, errFrame
	}
	frame := make([]byte, 4+n)
	copy(frame, size)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}
