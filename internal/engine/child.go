package engine

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// childArg is the first argument that makes this binary the engine. The others are those of query_stable_v2, after
// the path of the library.
const childArg = "clickhouse-engine"

// pipePath is the pipe from the parent: the first descriptor after the standard ones (exec.Cmd.ExtraFiles).
const pipePath = "/dev/fd/3"

// ChildMain turns this process into the engine and never returns, when the process was started as an engine's
// child; otherwise it returns at once. It must come before anything else in main and TestMain.
func ChildMain() {
	if len(os.Args) < 3 || os.Args[1] != childArg {
		return
	}
	if err := openTerminal(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := serve(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// localResult is the library's local_result_v2.
type localResult struct {
	_            *byte          // buf
	_            uintptr        // len
	_            unsafe.Pointer // vec
	_            float64        // elapsed
	_            uint64         // rows read
	_            uint64         // bytes read
	errorMessage *byte
}

// serve runs the engine with the arguments of a clickhouse-local command line and returns when it has ended.
func serve(library string, args []string) error {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("load engine: %w", err)
	}
	var query func(argc int32, argv **byte) *localResult
	purego.RegisterLibFunc(&query, handle, "query_stable_v2")

	argv := cStrings(append([]string{"clickhouse"}, args...))
	result := query(int32(len(argv)-1), &argv[0])
	runtime.KeepAlive(argv)
	if result == nil {
		return fmt.Errorf("run engine: it gave no result")
	}
	// The library has no exit code: the message is the only sign of why it stopped.
	if message := goString(result.errorMessage); message != "" {
		return fmt.Errorf("run engine: %s", message)
	}
	return nil
}

// cStrings makes an argv: NUL-terminated strings and a nil pointer at the end.
func cStrings(args []string) []*byte {
	argv := make([]*byte, 0, len(args)+1)
	for _, arg := range args {
		text := append([]byte(arg), 0)
		argv = append(argv, &text[0])
	}
	return append(argv, nil)
}

func goString(p *byte) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
