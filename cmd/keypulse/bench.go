package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"keypulse/bench"
)

// runBench measures a running instance; bench load fills one with rows, which bench read reads.
func runBench(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "load" {
		return runBenchLoad(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "read" {
		return runBenchRead(ctx, args[1:])
	}
	cfg := bench.DefaultConfig()
	cfg.APIKey = os.Getenv("KEYPULSE_API_KEY")
	asJSON := false
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	cfg.Flags(set)
	set.BoolVar(&asJSON, "json", false, "print the report as JSON")
	help := func(w io.Writer) {
		writeUsage(w, "bench", set)
		fmt.Fprintln(w, "\nThe API key is best given as KEYPULSE_API_KEY. The events stay: load a tenant of their own.")
	}
	if err := parseFlags(set, args, help); err != nil {
		return err
	}
	if err := noArguments("bench", set.Args()); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usagef("%v", err)
	}
	report, err := bench.Run(ctx, cfg)
	if err != nil && report.Requests == 0 {
		return err
	}
	return errors.Join(err, printReport(report, asJSON))
}

// printReport prints what was measured, also by a run that was cut short.
func printReport(report bench.Report, asJSON bool) error {
	if asJSON {
		return printJSON("  ", report)
	}
	return report.WriteText(os.Stdout)
}
