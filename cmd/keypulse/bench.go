package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"

	"keypulse/bench"
)

// runBench measures a running instance.
func runBench(ctx context.Context, args []string) error {
	cfg := bench.DefaultConfig()
	cfg.APIKey = os.Getenv("KEYPULSE_API_KEY")
	asJSON := false
	set := flag.NewFlagSet("keypulse bench", flag.ContinueOnError)
	cfg.Flags(set)
	set.BoolVar(&asJSON, "json", false, "print the report as JSON")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usagef("%v", err)
	}
	if set.NArg() > 0 {
		return usagef("bench takes no arguments, got %q", set.Args())
	}
	if err := cfg.Validate(); err != nil {
		return usagef("%v", err)
	}
	report, err := bench.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	return report.WriteText(os.Stdout)
}
