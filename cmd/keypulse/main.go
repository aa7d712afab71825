// Command keypulse is all of KeyPulse in one binary: `keypulse up` runs everything in one process on an embedded
// default; ingest, processor, sink, query and notifier run one role each; the other commands administer an installation.
//
// The files are one for each command; settings.go holds what all of them can be told, node.go what the roles share,
// stack.go in which order parts start and stop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"keypulse/internal/engine"
)

// command is one sub-command.
type command struct {
	name  string
	about string
	run   func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"up", "run everything in this process: API, log, processor, sink, ClickHouse", runUp},
		{"ingest", "run an ingest node: POST /api/events…", runIngest},
		{"processor", "run a processor: rules, verdicts, alerts", runProcessor},
		{"sink", "run a sink: the log into ClickHouse", runSink},
		{"query", "run a query node: every other path of the API", runQuery},
		{"notifier", "run a notifier: alerts to webhooks, Slack, e-mail", runNotifier},
		{"apikey", "create, list, rotate and revoke API keys", runAPIKey},
		{"analyst", "create, list and revoke analysts: read-only users of ClickHouse", runAnalyst},
		{"rules", "apply, check, test, list and show rules", runRules},
		{"migrate", "make the topics and the ClickHouse tables, and end", runMigrate},
		{"verify", "compare the ClickHouse tables with the log: what is missing, doubled, not yet there", runVerify},
		{"bench", "measure a running instance over HTTP", runBench},
		{"version", "print which KeyPulse this is", runVersion},
	}
}

func main() {
	engine.ChildMain()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "keypulse:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "keypulse:", err)
		os.Exit(1)
	}
}

// usageError says that a command line cannot be understood.
type usageError string

// Error returns the text.
func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(os.Stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return usagef("there is no command %s%s; see keypulse -h", args[0], didYouMean("", args[0], names))
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: keypulse COMMAND [FLAG…]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\n`keypulse COMMAND -h` lists a command's settings.\n")
}
