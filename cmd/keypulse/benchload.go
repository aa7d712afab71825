package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/bench"
	"keypulse/internal/engine"
	"keypulse/internal/store"
)

// runBenchLoad fills the tables of a running installation with made-up events, past the log.
func runBenchLoad(ctx context.Context, args []string) error {
	cfg := bench.DefaultLoadConfig()
	s, rest, err := parseSettings("bench load", args, cfg.Flags, filesGroup, storeGroup, engineGroup)
	if err != nil {
		return err
	}
	if err := noArguments("bench load", rest); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usagef("%v", err)
	}
	dsn, err := s.storeDSN()
	if err != nil {
		return err
	}
	began, said := time.Now(), time.Now()
	cfg.Progress = func(rows int) {
		if time.Since(said) > 10*time.Second || rows == cfg.Events {
			said = time.Now()
			fmt.Fprintf(os.Stderr, "%d events, %.0f/s\n", rows, float64(rows)/time.Since(began).Seconds())
		}
	}
	// An INSERT waits for merges when there are too many parts.
	db, err := store.Open(ctx, dsn, store.ReadTimeout(10*time.Minute))
	if err != nil {
		return err
	}
	defer db.Close()
	return bench.Load(ctx, db, cfg)
}

// runBenchRead asks a running installation that was filled, over HTTP and straight.
func runBenchRead(ctx context.Context, args []string) error {
	cfg := bench.DefaultReadConfig()
	cfg.APIKey = os.Getenv("KEYPULSE_API_KEY")
	asJSON := false
	s, rest, err := parseSettings("bench read", args, func(fs *flag.FlagSet) {
		cfg.Flags(fs)
		fs.BoolVar(&asJSON, "json", false, "print JSON")
	}, filesGroup, storeGroup, engineGroup)
	if err != nil {
		return err
	}
	if err := noArguments("bench read", rest); err != nil {
		return err
	}
	dsn, err := s.storeDSN()
	if err != nil {
		return err
	}
	return s.onStore(ctx, dsn, func(db driver.Conn) error {
		results, err := bench.Read(ctx, db, cfg)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON("  ", results)
		}
		return bench.WriteReads(os.Stdout, results)
	})
}

// storeDSN names ClickHouse: the given server, or the embedded engine of an `up` with the same settings.
func (s *settings) storeDSN() (string, error) {
	if !s.embeddedClickHouse() {
		return s.ClickHouseDSN, nil
	}
	return engine.DSN(s.engineDir(), s.ClickHouseNativeListen)
}
