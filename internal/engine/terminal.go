package engine

import (
	"fmt"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// openTerminal makes a new terminal this process's standard input, with the line "exit" typed into it.
//
// The engine needs it because of ClickHouse issue 115666: without a terminal, clickhouse-local (26.6 to 26.8) aborts
// the process on any exception of a connection: a wrong password is enough, or a client that resets its socket.
// In interactive mode it logs the exception and goes on. It reads its first line when start.sql has ended or failed.
func openTerminal() error {
	var (
		posixOpenpt       func(flags int32) int32
		grantpt, unlockpt func(fd int32) int32
		ptsname           func(fd int32) string
		dup2              func(from, to int32) int32 // not in package unix on every platform
	)
	purego.RegisterLibFunc(&posixOpenpt, purego.RTLD_DEFAULT, "posix_openpt")
	purego.RegisterLibFunc(&grantpt, purego.RTLD_DEFAULT, "grantpt")
	purego.RegisterLibFunc(&unlockpt, purego.RTLD_DEFAULT, "unlockpt")
	purego.RegisterLibFunc(&ptsname, purego.RTLD_DEFAULT, "ptsname")
	purego.RegisterLibFunc(&dup2, purego.RTLD_DEFAULT, "dup2")

	// The master stays open for the life of the process: closing it would hang up the terminal.
	master := posixOpenpt(unix.O_RDWR | unix.O_NOCTTY)
	if master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 {
		return fmt.Errorf("open terminal for engine: no pseudo-terminal to be had (is /dev/pts mounted?)")
	}
	slave, err := unix.Open(ptsname(master), unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open terminal for engine: %w", err)
	}
	if dup2(int32(slave), 0) != 0 {
		return fmt.Errorf("open terminal for engine: it cannot become the standard input")
	}
	if _, err := unix.Write(int(master), []byte("exit\n")); err != nil {
		return fmt.Errorf("write to engine's terminal: %w", err)
	}
	return nil
}
