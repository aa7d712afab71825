package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"keypulse/internal/engine"
	"keypulse/internal/store"
)

// parentDir names the variable that makes this test binary a KeyPulse of its own, to be killed by a test.
const parentDir = "KEYPULSE_TEST_PARENT_DIR"

func TestMain(m *testing.M) {
	engine.ChildMain()
	if dir := os.Getenv(parentDir); dir != "" {
		runParent(dir)
	}
	os.Exit(m.Run())
}

// runParent runs an engine until it is killed, and prints "PID DSN" when it answers.
func runParent(dir string) {
	eng, err := engine.New(engine.Config{Dir: dir, NativeListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Log: zap.NewNop()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		if eng.Ready(context.Background()) == nil {
			fmt.Println(eng.PID(), eng.DSN())
		}
	}()
	fmt.Fprintln(os.Stderr, eng.Run(context.Background()))
	os.Exit(1)
}

func config(t *testing.T, dir string) engine.Config {
	t.Helper()
	return engine.Config{Dir: dir, NativeListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Log: zaptest.NewLogger(t)}
}

// start runs an engine until stop is called or the test ends, and waits until it answers.
func start(t *testing.T, cfg engine.Config) (eng *engine.Engine, stop func()) {
	t.Helper()
	eng, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	waitReady(t, eng)
	return eng, stop
}

func waitReady(t *testing.T, eng *engine.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := eng.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	conn, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// fill makes a table of n rows.
func fill(t *testing.T, dsn string, n int) {
	t.Helper()
	conn := open(t, dsn)
	defer conn.Close()
	for _, sql := range []string{
		"CREATE TABLE numbers (n UInt64) ENGINE = MergeTree ORDER BY n",
		fmt.Sprintf("INSERT INTO numbers SELECT number FROM system.numbers LIMIT %d", n),
	} {
		if err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t *testing.T, dsn string) (n uint64) {
	t.Helper()
	conn := open(t, dsn)
	defer conn.Close()
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM numbers").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually polls until ok, at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestStartAnswerStop(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	eng, stop := start(t, config(t, dir))
	t.Logf("answers after %v", time.Since(began))
	if err := eng.Alive(); err != nil {
		t.Errorf("Alive: %v", err)
	}
	if status, body := get(t, "http://"+eng.HTTPAddress()+"/ping"); status != 200 || body != "Ok.\n" {
		t.Errorf("HTTP ping: %d %q", status, body)
	}
	fill(t, eng.DSN(), 1000)
	pid, dsn := eng.PID(), eng.DSN()

	began = time.Now()
	stop()
	t.Logf("stopped after %v", time.Since(began))
	if !gone(pid) {
		t.Error("the child runs after Run has returned")
	}
	if eng.Alive() == nil {
		t.Error("Alive is nil after the stop")
	}
	again, _ := start(t, config(t, dir))
	if n := count(t, again.DSN()); n != 1000 {
		t.Errorf("after a restart: %d rows, want 1000", n)
	}
	password := func(dsn string) string { return strings.Split(dsn, "@")[0] }
	if password(again.DSN()) != password(dsn) {
		t.Error("the password changed at the second start")
	}
}

func TestStopWithOpenConnection(t *testing.T) {
	eng, stop := start(t, config(t, t.TempDir()))
	open(t, eng.DSN())
	began := time.Now()
	stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("an idle connection held up the stop for %v", took)
	}
}

func TestChildKilled(t *testing.T) {
	eng, _ := start(t, config(t, t.TempDir()))
	fill(t, eng.DSN(), 50_000)
	for range 3 {
		pid := eng.PID()
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new child", func() bool { return eng.PID() != pid && eng.Alive() == nil })
		t.Logf("answers again after %v", time.Since(began))
		if n := count(t, eng.DSN()); n != 50_000 {
			t.Errorf("after SIGKILL of the child: %d rows, want 50000", n)
		}
	}
}

func TestParentKilled(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentDir+"="+dir)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var dsn string
	if _, err := fmt.Sscan(line, &pid, &dsn); err != nil {
		t.Fatal(err)
	}
	fill(t, dsn, 50_000)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// Nobody waits until the child is gone, as nobody would who starts KeyPulse again at once.
	eng, _ := start(t, config(t, dir))
	if n := count(t, eng.DSN()); n != 50_000 {
		t.Errorf("after SIGKILL of the parent: %d rows, want 50000", n)
	}
	eventually(t, "the end of the orphan", func() bool { return gone(pid) })
}

func TestSecondInstanceIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, config(t, dir))
	if _, err := engine.New(config(t, dir)); !errors.Is(err, engine.ErrInUse) {
		t.Errorf("second New: %v, want ErrInUse", err)
	}
	stop()
	if _, err := engine.New(config(t, dir)); err != nil {
		t.Errorf("New after the stop: %v", err)
	}
}

// TestHostileClients checks that the engine survives what a client may do: see openTerminal.
func TestHostileClients(t *testing.T) {
	eng, _ := start(t, config(t, t.TempDir()))
	pid := eng.PID()
	native := strings.Split(strings.Split(eng.DSN(), "@")[1], "/")[0]

	if _, err := store.Open(t.Context(), "clickhouse://keypulse:wrong@"+native+"/keypulse"); err == nil {
		t.Error("a wrong password was accepted")
	}
	for _, sent := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\xff\xff\xff\xff\xff\xff\xff", "\x00", ""} {
		conn, err := net.Dial("tcp", native)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(sent))
		_ = conn.(*net.TCPConn).SetLinger(0) // reset
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = open(t, eng.DSN()).Exec(ctx, "SELECT number FROM system.numbers") // ends in the middle of the answer

	fill(t, eng.DSN(), 10) // the engine works through what came before
	if err := eng.Alive(); err != nil || eng.PID() != pid {
		t.Errorf("engine: %v, pid %d, was %d", err, eng.PID(), pid)
	}
}

func TestDefaultUserIsRefused(t *testing.T) {
	eng, _ := start(t, config(t, t.TempDir()))
	if status, body := get(t, "http://"+eng.HTTPAddress()+"/?query=SELECT+1"); status == 200 {
		t.Errorf("HTTP without a password: %d %q", status, body)
	}
	native := strings.Split(strings.Split(eng.DSN(), "@")[1], "/")[0]
	if conn, err := store.Open(t.Context(), "clickhouse://default@"+native); err == nil {
		if err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Error("native protocol without a password: it answers")
		}
		conn.Close()
	}
	if err := eng.Alive(); err != nil {
		t.Errorf("Alive: %v", err)
	}
}

func TestSettings(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.FSync = true
	eng, _ := start(t, cfg)
	conn := open(t, eng.DSN())
	f := func(want, sql string) {
		t.Helper()
		var got string
		if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	f("0", "SELECT value FROM system.settings WHERE name = 'async_insert'")
	f("1", "SELECT value FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'")
	f("2", "SELECT value FROM system.server_settings WHERE name = 'background_pool_size'")
	f("67108864", "SELECT value FROM system.server_settings WHERE name = 'mark_cache_size'")
	f("UTC", "SELECT timezone()")
	f("0", "SELECT toString(count()) FROM system.tables WHERE database = 'system' AND name LIKE '%\\_log' AND engine LIKE '%MergeTree'")
	for _, name := range []string{"password", "config.xml", "users.xml"} {
		info, err := os.Stat(cfg.Dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := config(t, t.TempDir())
	cfg.NativeListen = l.Addr().String()
	eng, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), cfg.NativeListen) {
		t.Errorf("Run: %v, want the address that is in use", err)
	}
	if err := eng.Ready(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Ready after Run gave up: %v", err)
	}
}

// TestRepeatedFailure gives the engine data that it cannot read: Run gives up and says why.
func TestRepeatedFailure(t *testing.T) {
	cfg := config(t, t.TempDir())
	eng, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Dir+"/users.xml", []byte("<clickhouse><users>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := eng.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "users.xml") {
		t.Errorf("Run: %v, want the engine's own words about users.xml", err)
	}
}

func TestMissingLibrary(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Library = "/nowhere/libchdb.so"
	t.Chdir(t.TempDir())
	f := func(cfg engine.Config) {
		t.Helper()
		if _, err := engine.New(cfg); !errors.Is(err, engine.ErrNoLibrary) || !strings.Contains(err.Error(), "make engine") {
			t.Errorf("New: %v, want ErrNoLibrary, which says what to run", err)
		}
	}
	f(cfg)
	cfg.Library = ""
	f(cfg)
}

func TestValidate(t *testing.T) {
	f := func(dir, native, http, field string) {
		t.Helper()
		err := engine.Config{Dir: dir, NativeListen: native, HTTPListen: http}.Validate()
		if field == "" && err != nil || field != "" && (err == nil || !strings.Contains(err.Error(), field)) {
			t.Errorf("Validate(%q, %q, %q): %v, want %q", dir, native, http, err, field)
		}
	}
	f("d", "127.0.0.1:9000", "127.0.0.1:8123", "")
	f("", "127.0.0.1:9000", "127.0.0.1:8123", "Dir")
	f("d", "127.0.0.1", "127.0.0.1:8123", "NativeListen")
	f("d", "127.0.0.1:9000", "127.0.0.1:99999", "HTTPListen")
	f("d", "127.0.0.1:9000", "0.0.0.0:8123", "same host")
}
