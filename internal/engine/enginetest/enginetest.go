// Package enginetest gives tests the real ClickHouse engine: one for each test binary, started when the first test
// asks for it, and a fresh database for each test.
//
// The invariant it keeps: no test is skipped for want of an engine. Where the library is missing, the test fails and
// says what to run.
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
//
//	func TestReads(t *testing.T) {
//		conn, err := store.Open(t.Context(), enginetest.Migrated(t))
//		…
//	}
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keypulse/internal/engine"
	"keypulse/internal/store"
)

// startTimeout bounds the start of the engine on a busy machine; 0.2 s is usual.
const startTimeout = 30 * time.Second

// shared is the engine of this test binary.
var shared struct {
	once sync.Once
	eng  *engine.Engine
	err  error
	stop func() error
}

// databases numbers the databases of this test binary.
var databases atomic.Uint32

// Main runs the tests of a package and then stops the engine, if a test started it. It is the whole of TestMain.
func Main(m *testing.M) {
	engine.ChildMain()
	code := m.Run()
	if shared.stop != nil {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the tests' engine:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Engine returns the engine that all tests of this binary share. A test that kills it must start its own instead.
func Engine(t testing.TB) *engine.Engine {
	t.Helper()
	shared.once.Do(func() { shared.eng, shared.stop, shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.eng
}

// DSN returns the DSN of an empty database that is this test's own.
func DSN(t testing.TB) string {
	t.Helper()
	dsn, err := url.Parse(Engine(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	dsn.Path = "/" + databaseName(t.Name())
	return dsn.String()
}

// Migrated is DSN with the schema applied.
func Migrated(t testing.TB) string {
	t.Helper()
	dsn := DSN(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := store.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := store.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// databaseName keeps the letters and digits of a test's name, and adds a number that makes it unique.
func databaseName(test string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, test)
	return fmt.Sprintf("%.80s_%d", name, databases.Add(1))
}

// start runs an engine in a folder of its own until stop is called.
func start() (eng *engine.Engine, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "keypulse-engine-")
	if err != nil {
		return nil, nil, err
	}
	eng, err = engine.New(engine.Config{Dir: dir, NativeListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0"})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	stop = func() error {
		cancel()
		return errors.Join(<-ended, os.RemoveAll(dir))
	}
	ready, cancelReady := context.WithTimeout(ctx, startTimeout)
	defer cancelReady()
	return eng, stop, eng.Ready(ready)
}
