package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClickHouseAwayStopsNoAlert stops the engine with SIGSTOP: events are accepted and judged all the same, and everything is
// in the lists when it wakes.
func TestClickHouseAwayStopsNoAlert(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rule.yaml", exportBurst))
	engine := childOf(t, in.cmd.Process.Pid)
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(engine, syscall.SIGCONT) }()
	for i := 1; i <= 4; i++ {
		e := in.post("signing-key-01", "export")
		if want := i / 4; e.AlertsTriggered != want || !e.Evaluated {
			t.Errorf("export %d while ClickHouse sleeps: %+v, want %d alerts", i, e, want)
		}
	}
	if err := syscall.Kill(engine, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "the events and the alert", 20*time.Second, func() error {
		if n := len(in.events("key_id=signing-key-01")); n != 4 {
			return fmt.Errorf("%d of 4 events", n)
		}
		return nil
	})
	in.awaitAlert("the alert", 1)
}

// TestEngineDiesAlone kills the engine alone: it is started again, and nothing is lost.
func TestEngineDiesAlone(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	in.post("k", "before")
	if err := syscall.Kill(childOf(t, in.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	in.post("k", "while-it-is-down")
	await(t, "both events", 20*time.Second, func() error {
		r, err := in.try("GET", "/api/events?key_id=k", "")
		if err != nil {
			return err
		}
		if n := strings.Count(string(r.body), `"event_type"`); n != 2 {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
}

// childOf finds the process whose parent is pid.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}
