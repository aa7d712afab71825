package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/engine"
	"keypulse/internal/pause"
	"keypulse/internal/store"
	"keypulse/sink"
)

// What verify fails with.
var (
	errTablesDiffer = errors.New("the tables are not what the log says")
	errNotYet       = errors.New("not everything is stored yet")
)

// runVerify compares the tables with the log, beside a running installation.
func runVerify(ctx context.Context, args []string) error {
	var wait time.Duration
	var asJSON bool
	s, rest, err := parseSettings("verify", args, func(fs *flag.FlagSet) {
		fs.DurationVar(&wait, "wait", 0, "how long to wait for what is not yet there")
		fs.BoolVar(&asJSON, "json", false, "print JSON")
	}, filesGroup, kafkaGroup, storeGroup, engineGroup)
	if err != nil {
		return err
	}
	if err := noArguments("verify", rest); err != nil {
		return err
	}
	v, closeAll, err := openVerifier(ctx, s)
	if err != nil {
		return err
	}
	defer closeAll()
	report, err := verify(ctx, v, wait)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON("", report)
	} else {
		err = printFindings(report)
	}
	switch {
	case err != nil:
		return err
	case report.Missing > 0 || report.Doubled > 0:
		return errTablesDiffer
	case wait > 0 && report.NotYet > 0:
		return fmt.Errorf("%w: waited %v", errNotYet, wait)
	}
	return nil
}

// runningDSN is where the ClickHouse of a running installation is.
func (s *settings) runningDSN() (string, error) {
	if s.embeddedClickHouse() {
		return engine.DSNOf(filepath.Join(s.Data, "clickhouse"), s.ClickHouseNativeListen)
	}
	return s.ClickHouseDSN, nil
}

// openVerifier connects to the log and to ClickHouse.
func openVerifier(ctx context.Context, s *settings) (v sink.Verifier, closeAll func(), err error) {
	dsn, err := s.runningDSN()
	if err != nil {
		return v, nil, err
	}
	if v.Client, err = broker.Open(s.broker()); err != nil {
		return v, nil, err
	}
	if err = v.Client.Ping(ctx); err == nil {
		v.Incarnation, err = v.Client.EnsureTopics(ctx, s.topics())
	}
	if err == nil {
		v.DB, err = store.Open(ctx, dsn)
	}
	if err != nil {
		v.Client.Close()
		return v, nil, fmt.Errorf("%w (is KeyPulse running there? Give the settings that it runs with)", err)
	}
	return v, func() {
		v.DB.Close()
		v.Client.Close()
	}, nil
}

// verify looks again until everything is there, something is wrong, or wait is over.
func verify(ctx context.Context, v sink.Verifier, wait time.Duration) (*sink.Report, error) {
	for deadline := time.Now().Add(wait); ; {
		report, err := v.Verify(ctx)
		if err != nil || report.Missing > 0 || report.Doubled > 0 || report.NotYet == 0 || time.Now().After(deadline) {
			return report, err
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func printFindings(r *sink.Report) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "partition\ttable\trows\tmissing\tdoubled\tnot yet\tlost\tdropped\t")
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", f.Partition, f.Table, f.Rows, f.Missing, f.Doubled, f.NotYet, f.Lost, f.Dropped)
	}
	fmt.Fprintf(w, "\tall\t\t%d\t%d\t%d\t%d\t%d\t\n", r.Missing, r.Doubled, r.NotYet, r.Lost, r.Dropped)
	return w.Flush()
}
