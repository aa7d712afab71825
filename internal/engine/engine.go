package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// aliveTimeout bounds how long Alive waits for the engine's greeting.
const aliveTimeout = 2 * time.Second

// Engine is one ClickHouse engine on one data folder. New prepares it, Run runs it once.
type Engine struct {
	cfg      Config
	files    layout
	password string
	lock     *os.File
	analysts []byte // the file of analysts that the child's users were made from

	mu sync.Mutex
	// guards the following
	up   chan struct{} // closed while the engine answers, replaced when it ends
	gone chan struct{} // closed when Run has returned
	err  error         // why the engine does not answer; nil while it does
	pid  int           // the child's; 0 while there is none
}

// errStarting is Alive's answer before the engine has answered for the first time.
var errStarting = errors.New("the engine is starting")

// New takes the data folder, writes the engine's configuration and makes its password. It starts nothing. The error
// is ErrInUse or ErrNoLibrary (wrapped) for the two mistakes that a user can make. Run releases the folder.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if err := cfg.choose(); err != nil {
		return nil, err
	}
	files, err := newLayout(cfg.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(files.lock)
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, files: files, lock: lock, up: make(chan struct{}), gone: make(chan struct{}), err: errStarting}
	if err := e.prepare(); err != nil {
		lock.Close()
		return nil, err
	}
	return e, nil
}

// choose finds the program to run: the binary, the library, or the library where `make engine` puts it.
func (c *Config) choose() error {
	switch {
	case c.Bin != "":
		if _, err := exec.LookPath(c.Bin); err != nil {
			return fmt.Errorf("find clickhouse binary: %w", err)
		}
	case c.Library != "":
		if _, err := os.Stat(c.Library); err != nil {
			return fmt.Errorf("find engine library: %w: %w", err, ErrNoLibrary)
		}
	default:
		library, err := FindLibrary()
		if err != nil {
			return err
		}
		c.Library = library
	}
	return nil
}

func (e *Engine) prepare() error {
	if err := e.cfg.choosePorts(); err != nil {
		return err
	}
	password, err := e.files.loadPassword()
	if err != nil {
		return err
	}
	e.password = password
	return e.writeFiles()
}

// writeFiles makes the files that a child reads.
func (e *Engine) writeFiles() error {
	analysts, text, err := readAnalysts(e.files.analysts)
	if err != nil {
		return err
	}
	e.analysts = text
	return e.files.write(e.cfg, e.password, analysts)
}

// DSN is what clickhouse-go connects with: user, password, native address, database.
func (e *Engine) DSN() string { return dsn(e.password, e.cfg.NativeListen) }

func dsn(password, listen string) string {
	u := url.URL{
		Scheme: "clickhouse",
		User:   url.UserPassword(user, password),
		Host:   dialAddress(listen),
		Path:   "/" + database,
	}
	return u.String()
}

// DSN is the same of the engine that another process runs in dir.
func DSN(dir, nativeListen string) (string, error) {
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		return "", fmt.Errorf("read engine password: %w", err)
	}
	return dsn(strings.TrimSpace(string(password)), nativeListen), nil
}

// HTTPAddress is the host:port of the HTTP protocol.
func (e *Engine) HTTPAddress() string { return dialAddress(e.cfg.HTTPListen) }

// Ready blocks until the native protocol answers. The error is ctx's, or says why Run gave up.
func (e *Engine) Ready(ctx context.Context) error {
	e.mu.Lock()
	up := e.up
	e.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-e.gone:
		return fmt.Errorf("wait for engine: %w", e.state())
	case <-ctx.Done():
		why := e.state()
		if why == nil { // it answered in this moment
			return nil
		}
		return fmt.Errorf("wait for engine: %w: %w", ctx.Err(), why)
	}
}

// Alive asks the engine now and returns nil when it answers; at most two seconds pass.
func (e *Engine) Alive() error {
	if err := e.state(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), aliveTimeout)
	defer cancel()
	return hello(ctx, dialAddress(e.cfg.NativeListen), e.password)
}

// PID is the process id of the engine's child, 0 while there is none.
func (e *Engine) PID() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pid
}

func (e *Engine) state() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// setStarted notes a new child that does not answer yet.
func (e *Engine) setStarted(pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pid = pid
}

// setUp notes that the child answers and wakes Ready.
func (e *Engine) setUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = nil
	close(e.up)
}

// setDown notes that the child has ended. A Ready that was woken before keeps its answer.
func (e *Engine) setDown(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.up = make(chan struct{})
	}
	e.pid = 0
	e.err = why
}

// DSNOf is the DSN of an engine that runs in another process: of its folder and its native address.
func DSNOf(dir, nativeListen string) (string, error) {
	files, err := newLayout(dir)
	if err != nil {
		return "", err
	}
	password, err := os.ReadFile(files.password)
	if err != nil {
		return "", fmt.Errorf("read engine password: %w", err)
	}
	e := Engine{cfg: Config{NativeListen: nativeListen}, password: strings.TrimSpace(string(password))}
	return e.DSN(), nil
}
