//go:build unix

package query

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// isClosed peeks at a socket without waiting and without taking anything from it: no bytes and no error is its end.
func isClosed(raw syscall.RawConn) bool {
	var n int
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	switch {
	case controlErr != nil:
		return true
	case err != nil:
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	}
	return n == 0
}
