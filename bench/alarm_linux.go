package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes one goroutine at a due time. It is a timerfd, not a time.Timer: the runtime waits in epoll with
// milliseconds, so in an idle process its timers ring up to 0.9 ms late, which would be most of a fast ack.
type alarm struct {
	file    *os.File
	release func() bool
	buf     [8]byte
}

// newAlarm returns an alarm whose waits end with ctx.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd")}
	a.release = context.AfterFunc(ctx, func() {
		// It can only fail on a closed file, on which nobody waits.
		_ = a.file.SetReadDeadline(time.Unix(1, 0))
	})
	return a, nil
}

// wait returns at due, or sooner when the alarm's context ends.
func (a *alarm) wait(due time.Time) error {
	left := time.Until(due)
	if left <= 0 {
		return nil
	}
	conn, err := a.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	var setErr error
	err = conn.Control(func(fd uintptr) { setErr = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
	if err == nil {
		err = setErr
	}
	if err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	if _, err = a.file.Read(a.buf[:]); err != nil && !os.IsTimeout(err) {
		return fmt.Errorf("wait for timer: %w", err)
	}
	return nil
}

func (a *alarm) close() {
	a.release()
	_ = a.file.Close()
}
