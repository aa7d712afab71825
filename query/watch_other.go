//go:build !unix

package query

import "syscall"

// isClosed cannot tell here: statements run until their deadline.
func isClosed(syscall.RawConn) bool { return false }
