package main

import (
	"bytes"
	"errors"
	"flag"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// result is what became of a command.
type result struct {
	code           int
	stdout, stderr string
}

// runKeypulse runs a keypulse command.
func runKeypulse(t *testing.T, settings []string, args ...string) result {
	t.Helper()
	cmd := keypulse(settings, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestHelp(t *testing.T) {
	f := func(command string, want, not []string) {
		t.Helper()
		r := runKeypulse(t, nil, append(strings.Fields(command), "-h")...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%s -h: exit code %d, %s", command, r.code, r.stderr)
		}
		rest := r.stdout
		for _, text := range want {
			_, after, found := strings.Cut(rest, text)
			if !found {
				t.Errorf("%s -h has no %q, or not in its place:\n%s", command, text, r.stdout)
				continue
			}
			rest = after
		}
		for _, text := range not {
			if strings.Contains(r.stdout, text) {
				t.Errorf("%s -h has %q", command, text)
			}
		}
	}
	f("", []string{"usage: keypulse COMMAND", "up", "version"}, nil)
	f("up", []string{"usage: keypulse up [FLAG…]", "--data folder", "--listen", "--kafka-listen", "--clickhouse-lib", "--fsync"}, nil)
	f("sink", []string{"--listen", "--kafka-brokers", "--clickhouse-dsn"}, []string{"--fsync", "--clickhouse-lib", "--secret-file"})
	f("apikey", []string{"usage: keypulse apikey create", "apikey revoke [--json] ID"}, nil)
	f("apikey create", []string{"--expires", "--tenant", "--secret-file", "--kafka-listen"}, []string{"--partitions", "--clickhouse", "--listen"})
	f("rules", []string{"usage: keypulse rules apply", "rules show"}, nil)
	f("rules check", []string{"usage: keypulse rules check [FLAG…] FILE…"}, []string{"--"})
	f("rules apply", []string{"FILE…", "--new-tenant", "--tenant", "--kafka-listen"}, []string{"--data", "--fsync"})
	f("bench", []string{"--alerts", "The events stay"}, []string{"--kafka"})
	f("version", []string{"usage: keypulse version"}, nil)
}

// A command line that cannot be understood is told in one line, with exit code 2.
func TestCommandLineMistakes(t *testing.T) {
	f := func(settings []string, command, want string) {
		t.Helper()
		r := runKeypulse(t, settings, strings.Fields(command)...)
		if r.code != 2 || r.stdout != "" || r.stderr != "keypulse: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", command, r.code, r.stderr, want)
		}
	}
	f(nil, "ingst", "there is no command ingst (did you mean ingest?); see keypulse -h")
	f(nil, "rules aply", "there is no command rules aply; see keypulse rules -h")
	f(nil, "up --lisen x", "there is no flag --lisen (did you mean --listen?); see keypulse up -h")
	f(nil, "up --partitions abc", `invalid value "abc" for flag --partitions: parse error; see keypulse up -h`)
	f(nil, "rules apply --tenant", "flag needs an argument: --tenant; see keypulse rules apply -h")
	f(nil, "rules apply rule.yaml --tenant demo", "flags come first: put --tenant before rule.yaml")
	f(nil, "rules apply rule.yaml", "--tenant is missing")
	f(nil, "rules apply --tenant demo", "usage: keypulse rules apply [FLAG…] FILE…")
	f(nil, "rules list --tenant Demo", `--tenant: parse tenant "Demo": must be 1 to 63 of a-z, 0-9 and '-', starting with a letter or a digit`)
	f(nil, "rules list --tenant demo x", `rules list takes no arguments, got ["x"]`)
	f(nil, "apikey list x", `apikey list takes no arguments, got ["x"]`)
	f(nil, "apikey create --name x", "--tenant is missing")
	f(nil, "version x", `version takes no arguments, got ["x"]`)
	f([]string{"KEYPULSE_PARTITIONS=abc"}, "up", `KEYPULSE_PARTITIONS is "abc": must be a whole number`)
	f([]string{"KEYPULSE_LOG_RETENTION=3"}, "up", `KEYPULSE_LOG_RETENTION is "3": must be a duration such as 250ms or 720h`)
	f([]string{"KEYPULSE_FSYNC=maybe"}, "up", `KEYPULSE_FSYNC is "maybe": must be true or false`)
	path := writeFile(t, "keypulse.conf", "KEYPULSE_LISTN=127.0.0.1:1\n")
	f([]string{"KEYPULSE_CONFIG=" + path}, "up", path+": KEYPULSE_LISTN is no setting (did you mean KEYPULSE_LISTEN?)")
}

func TestUnknownVariablesAreTold(t *testing.T) {
	known := map[string]*flag.Flag{}
	declare(new(settings), allGroups).VisitAll(func(f *flag.Flag) { known[variable(f.Name)] = f })
	var out bytes.Buffer
	warnUnknown(&out, []string{
		"KEYPULSE_LISTN=1", "KEYPULSE_LISTEN=1", "KEYPULSE_CONFIG=x", "KEYPULSE_API_KEY=x", "KEYPULSE_URL=x", "KEYPULSE_SOAK=1",
		"KEYPULSE_TEST_X=1", "KEYPULSE_COLOUR=red", "HOME=/",
	}, known)
	want := "keypulse: warning: KEYPULSE_LISTN is no setting (did you mean KEYPULSE_LISTEN?)\n" +
		"keypulse: warning: KEYPULSE_COLOUR is no setting\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// A flag goes before a variable, a variable before the file; no command needs to use a setting to take it.
func TestSettingsOrder(t *testing.T) {
	t.Setenv("KEYPULSE_LISTEN", "127.0.0.1:2")
	t.Setenv("KEYPULSE_LOG_LEVEL", "warn")
	t.Setenv("KEYPULSE_CONFIG", writeFile(t, "conf", "KEYPULSE_LISTEN=127.0.0.1:3\nKEYPULSE_LOG_LEVEL=debug\nKEYPULSE_LOG_FORMAT=json\n"))
	s, rest, err := parseSettings("rules list", []string{"--listen", "127.0.0.1:1", "a", "b"}, nil, adminGroups...)
	if err != nil || len(rest) != 2 {
		t.Fatal(rest, err)
	}
	if s.Listen != "127.0.0.1:1" || s.LogLevel != "warn" || s.LogFormat != "json" || s.partitionsGiven || s.Partitions != 8 {
		t.Errorf("%+v", s)
	}
	s, _, err = parseSettings("up", []string{"--partitions", "12"}, nil)
	if err != nil || !s.partitionsGiven || s.Partitions != 12 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A command's groups hold every setting once.
func TestGroupsAreDisjoint(t *testing.T) {
	seen := map[string]string{}
	for _, g := range allGroups {
		declare(new(settings), []group{g}).VisitAll(func(f *flag.Flag) {
			if other, ok := seen[f.Name]; ok {
				t.Errorf("--%s is in %s and in %s", f.Name, other, g.title)
			}
			seen[f.Name] = g.title
		})
	}
}

func TestShortDuration(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := shortDuration(d); got != want {
			t.Errorf("%v is written %s", d, got)
		}
	}
	f(0, "0s")
	f(15*time.Minute, "15m")
	f(10*time.Hour, "10h")
	f(90*time.Minute, "1h30m")
	f(time.Hour+time.Second, "1h0m1s")
	f(250*time.Millisecond, "250ms")
}

func TestIsLoopback(t *testing.T) {
	f := func(address string, want bool) {
		t.Helper()
		if isLoopback(address) != want {
			t.Errorf("%s: got %t", address, !want)
		}
	}
	f("127.0.0.1:9092", true)
	f("[::1]:9092", true)
	f("localhost:9092", true)
	f(":9092", false)
	f("0.0.0.0:9092", false)
	f("10.0.0.1:9092", false)
}

func TestVersion(t *testing.T) {
	f := func(want string, settings ...debug.BuildSetting) {
		t.Helper()
		if got := versionOf(settings); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("devel")
	f("0123456789ab", debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}, debug.BuildSetting{Key: "vcs.modified", Value: "false"})
	f("0123456789ab+changes", debug.BuildSetting{Key: "vcs.modified", Value: "true"}, debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"})
	if r := runKeypulse(t, nil, "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "keypulse ") || !strings.Contains(r.stdout, " go1.") {
		t.Errorf("%+v", r)
	}
}
