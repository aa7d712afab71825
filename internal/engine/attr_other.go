//go:build !linux

package engine

import "syscall"

// childAttr gives the child a process group of its own, so that a Ctrl-C in the terminal reaches only the parent,
// which drains first. A parent that dies closes the pipe, which ends the child.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
