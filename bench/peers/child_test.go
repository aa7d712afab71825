package peers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// child is a process of its own, so that its CPU time is nobody else's.
type child struct {
	addr string
	pid  int
}

// roleOf makes the test binary a child with that role, until its standard input ends.
const roleOf = "KEYPULSE_BENCH_ROLE"

// roles are what a child can be. Each serves on an address, which it tells, and returns how it is ended.
var roles = map[string]func(arg string) (addr string, end func(), err error){
	"broker": serveBroker, "empty": serveEmpty, "naive": serveNaive,
}

func TestMain(m *testing.M) {
	role, arg, _ := strings.Cut(os.Getenv(roleOf), " ")
	if role == "" {
		os.Exit(m.Run())
	}
	addr, end, err := roles[role](arg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	end()
}

// startChild starts a child with a role and its argument, until the benchmark ends.
func startChild(b *testing.B, role, arg string) child {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleOf+"="+role+" "+arg)
	cmd.Stderr = os.Stderr
	life, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		life.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return child{strings.TrimSpace(addr), cmd.Process.Pid}
}

// cpu is the CPU time that the process has used, in the kernel's ticks of 10 ms.
func (c child) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // user and system
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// listen opens a free port.
func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
