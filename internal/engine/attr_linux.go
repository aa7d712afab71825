package engine

import "syscall"

// childAttr gives the child a process group of its own, so that a Ctrl-C in the terminal reaches only the parent,
// which drains first. The kernel kills the child when the parent dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
