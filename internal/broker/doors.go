package broker

import (
	"context"
	"errors"
	"net"
	"sync"
)

// doors is a listener with two of them: TCP for other processes, and pipes for this one, which spare each of its requests four
// system calls and two wake-ups by the kernel.
type doors struct {
	tcp     net.Listener
	conns   chan net.Conn
	ended   chan struct{}
	end     func()
	waiting sync.WaitGroup // for the goroutine that accepts from tcp, until Close
}

var errDoorsClosed = errors.New("the embedded broker is closed")

func openDoors(tcp net.Listener) *doors {
	d := &doors{tcp: tcp, conns: make(chan net.Conn), ended: make(chan struct{})}
	d.end = sync.OnceFunc(func() { close(d.ended) })
	d.waiting.Go(func() {
		defer d.end()
		for {
			c, err := tcp.Accept()
			if err != nil || !d.enter(context.Background(), c) {
				return
			}
		}
	})
	return d
}

// enter hands a connection to Accept.
func (d *doors) enter(ctx context.Context, c net.Conn) bool {
	select {
	case d.conns <- c:
		return true
	case <-ctx.Done():
	case <-d.ended:
	}
	c.Close()
	return false
}

func (d *doors) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	if !d.enter(ctx, theirs) {
		ours.Close()
		return nil, errDoorsClosed
	}
	return ours, nil
}

// Accept waits for a connection by either door.
func (d *doors) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.ended:
		return nil, errDoorsClosed
	}
}

// Close closes both doors.
func (d *doors) Close() error {
	err := d.tcp.Close()
	d.end()
	d.waiting.Wait()
	return err
}

// Addr is that of TCP.
func (d *doors) Addr() net.Addr { return d.tcp.Addr() }
