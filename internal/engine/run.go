package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// restartPause lies between the end of a child and the start of the next.
	restartPause = 200 * time.Millisecond
	// Healthy is how long a child must live for its end not to count as a repeated failure.
	Healthy = 10 * time.Second
	// maxQuickEnds in a row make Run give up.
	maxQuickEnds = 5
	// stopTimeout is how long a child may take to end by itself before it is killed.
	stopTimeout = 6 * time.Second
	// portTimeout is how long ports may be taken by an engine whose parent was killed and that is about to end.
	portTimeout = 2 * time.Second
	// helloPause lies between two greetings while the child starts.
	helloPause = 10 * time.Millisecond
)

// Run starts the engine and keeps it running until ctx is done; then it ends the engine cleanly, or kills it after
// five seconds, and returns nil. A child that ends alone is started again; after five quick ends in a row Run
// returns an error with the engine's own last words. Run may be called once.
func (e *Engine) Run(ctx context.Context) error {
	defer e.lock.Close()
	defer close(e.gone)
	if err := e.awaitPorts(ctx); err != nil {
		e.setDown(err)
		return err
	}
	quick := 0
	for {
		started := time.Now()
		err := e.runChild(ctx)
		if ctx.Err() != nil {
			e.setDown(errors.New("the engine was stopped"))
			return nil
		}
		e.setDown(err)
		if errors.Is(err, errAnalysts) {
			if err := e.writeFiles(); err != nil {
				e.cfg.Log.Error("the analysts stay as they were", zap.Error(err))
			}
			continue
		}
		if quick++; time.Since(started) >= Healthy {
			quick = 1
		}
		if quick >= maxQuickEnds {
			return fmt.Errorf("keep engine running: it ended %d times in a row, see %s: %w", quick, e.files.log, err)
		}
		e.cfg.Log.Warn("engine ended, starting it again", zap.Error(err))
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
		}
	}
}

// awaitPorts returns nil when both ports can be had: that another program has one is better said before the start.
func (e *Engine) awaitPorts(ctx context.Context) error {
	deadline := time.Now().Add(portTimeout)
	for _, listen := range []string{e.cfg.NativeListen, e.cfg.HTTPListen} {
		for {
			l, err := net.Listen("tcp", listen)
			if err == nil {
				l.Close()
				break
			}
			if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("start engine: %w", err)
			}
			time.Sleep(helloPause)
		}
	}
	return nil
}

// runChild runs one child from start to end. The error says why it ended and is never nil.
func (e *Engine) runChild(ctx context.Context) error {
	// The kernel sends Pdeathsig when the *thread* that started the child ends, so this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	words := new(tail)
	cmd, err := e.command(words)
	if err != nil {
		return err
	}
	theirs, ours, err := os.Pipe() // the child reads, we hold the writing end
	if err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	e.setStarted(cmd.Process.Pid)
	return e.watch(ctx, cmd, ours, words)
}

// watch waits for the child's end, which it asks for when ctx is done. The error is never nil.
func (e *Engine) watch(ctx context.Context, cmd *exec.Cmd, pipe *os.File, words *tail) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	starting, cancel := context.WithCancel(ctx)
	var greeting sync.WaitGroup
	greeting.Go(func() { e.awaitHello(starting, cmd.Process.Pid) })
	defer greeting.Wait()
	defer cancel()

	look := time.NewTicker(analystsEvery)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("engine ended: %w: %s", exitError(err), words)
		case <-ctx.Done():
			return e.stop(cmd, pipe, ended)
		case <-look.C:
			if e.analystsChanged() {
				e.cfg.Log.Info("the engine starts again, for the analysts have changed")
				_ = e.stop(cmd, pipe, ended) // it says only how the child ended
				return errAnalysts
			}
		}
	}
}

// awaitHello greets the child until it answers.
func (e *Engine) awaitHello(ctx context.Context, pid int) {
	started := time.Now()
	for {
		attempt, cancel := context.WithTimeout(ctx, aliveTimeout)
		err := hello(attempt, dialAddress(e.cfg.NativeListen), e.password)
		cancel()
		if err == nil {
			e.setUp()
			e.cfg.Log.Info("engine answers", zap.Int("pid", pid), zap.String("native", e.cfg.NativeListen),
				zap.String("http", e.cfg.HTTPListen), zap.Duration("after", time.Since(started)))
			return
		}
		select {
		case <-time.After(helloPause):
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the child: closing the pipe ends the statement it waits in, a server gets SIGTERM.
func (e *Engine) stop(cmd *exec.Cmd, pipe *os.File, ended <-chan error) error {
	pipe.Close()
	if e.cfg.Bin != "" {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			e.cfg.Log.Warn("cannot signal the engine", zap.Error(err))
		}
	}
	select {
	case <-ended:
		return errors.New("the engine was stopped")
	case <-time.After(stopTimeout):
	}
	e.cfg.Log.Warn("engine did not end in time, killing it", zap.Duration("timeout", stopTimeout))
	if err := cmd.Process.Kill(); err != nil {
		e.cfg.Log.Warn("cannot kill the engine", zap.Error(err))
	}
	<-ended
	return errors.New("the engine was killed")
}

// command is the child's command line: this binary with the library, or a clickhouse server.
func (e *Engine) command(words *tail) (*exec.Cmd, error) {
	name, args := e.cfg.Bin, []string{"server", "--config-file=" + e.files.config}
	if e.cfg.Bin == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("start engine: %w", err)
		}
		name = exe
		args = []string{
			childArg, e.cfg.Library,
			"--config-file=" + e.files.config, "--path=" + e.files.data, "--queries-file=" + e.files.start,
			// The level in config.xml is for servers: clickhouse-local ignores it (ClickHouse issue 121022).
			"--log-level=warning",
			// Interactive, for the reason that openTerminal gives; the last three keep it off the keyboard and the disk.
			"--interactive", "--enable-progress-table-toggle=0", "--disable_suggestion", "--history_file=/dev/null",
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = e.files.data
	cmd.Stderr = words
	cmd.SysProcAttr = childAttr()
	cmd.Env = e.childEnv()
	return cmd, nil
}

// childEnv is all of the environment that the child gets: in interactive mode the engine looks for keys of AI services
// in it, and for configuration at home. Go's preemption signals are off because they would interrupt the engine's
// system calls, and the child runs almost no Go.
func (e *Engine) childEnv() []string {
	env := []string{"HOME=" + e.files.data, "TZ=UTC", "GODEBUG=asyncpreemptoff=1"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
