package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/store"
	"keypulse/rules"
	"keypulse/schema"
)

// shownGroups are the settings of the commands that show rules: these are in the log, their counts in ClickHouse.
var shownGroups = []group{filesGroup, kafkaGroup, storeGroup, engineGroup}

func listRules(ctx context.Context, args []string) error {
	s, tenant, rest, err := rulesCommand("rules list", args, nil, shownGroups...)
	if err != nil {
		return err
	}
	if err := noArguments("rules list", rest); err != nil {
		return err
	}
	return withBook(ctx, s, func(ctx context.Context, _ *broker.Client, book *rules.Book) error {
		list := book.Rules(tenant)
		counts := ruleCounts(ctx, s, tenant, list...)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tVERSION\tENABLED\tMODE\tSEVERITY\tSCORE\tDEDUP\tHITS\tSHADOW HITS\tERRORS\tCHANGED\tNAME")
		for _, v := range list {
			r := v.Rule
			fmt.Fprintf(w, "%s\t%d\t%t\t%s\t%s\t%d\t%s", r.ID, v.Version, r.Enabled, r.Mode, r.Severity, r.Score, shortDuration(r.Dedup))
			hits, shadow, failed := "-", "-", "-"
			if counts != nil {
				c := counts[r.ID]
				hits, shadow, failed = strconv.FormatUint(c.Hits, 10), strconv.FormatUint(c.Shadow, 10), strconv.FormatUint(c.Errors, 10)
			}
			fmt.Fprintf(w, "\t%s\t%s\t%s\t%s\t%s\n", hits, shadow, failed, v.At, r.Name)
		}
		return w.Flush()
	})
}

// shownCounts are what a version has counted, as rules show says it.
type shownCounts struct {
	Hits       uint64     `json:"hits"`
	ShadowHits uint64     `json:"shadow_hits"`
	RuleErrors uint64     `json:"rule_errors"`
	LastError  *lastError `json:"last_error"`
}

type lastError struct {
	Message string        `json:"message"`
	EventID int64         `json:"event_id"`
	At      schema.Millis `json:"at"`
}

func showRule(ctx context.Context, args []string) error {
	s, tenant, rest, err := rulesCommand("rules show", args, nil, shownGroups...)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return wrongArguments("rules show")
	}
	return withBook(ctx, s, func(ctx context.Context, _ *broker.Client, book *rules.Book) error {
		v, ok := book.Rule(tenant, rest[0])
		if !ok || v.Deleted {
			return fmt.Errorf("show rule %s: tenant %s has none with this id", rest[0], tenant)
		}
		shown := struct {
			Version    int64         `json:"version"`
			By         string        `json:"by"`
			At         schema.Millis `json:"at"`
			WorstTime  string        `json:"worst_time"`  // for one event
			WorstBytes int           `json:"worst_bytes"` // for one key
			Counts     *shownCounts  `json:"counts"`      // of this version; null: nobody knows
			Rule       rules.Rule    `json:"rule"`
		}{Version: v.Version, By: v.By, At: v.At, WorstTime: v.Program.WorstTime().Round(time.Microsecond).String(), WorstBytes: v.Program.WorstBytes(), Rule: v.Rule}
		if counts := ruleCounts(ctx, s, tenant, v); counts != nil {
			c := counts[v.Rule.ID]
			shown.Counts = &shownCounts{Hits: c.Hits, ShadowHits: c.Shadow, RuleErrors: c.Errors}
			if c.Errors > 0 {
				shown.Counts.LastError = &lastError{c.LastError.Message, c.LastError.EventID, c.LastError.At}
			}
		}
		return printJSON("  ", shown)
	})
}

// countsTimeout is how long a command waits for ClickHouse; rules are shown without their counts then.
const countsTimeout = 5 * time.Second

// ruleCounts reads what versions of rules have counted; nil when ClickHouse does not answer, which is said.
func ruleCounts(ctx context.Context, s *settings, tenant schema.Tenant, list ...rules.Version) map[string]store.RuleCounts {
	ctx, cancel := context.WithTimeout(ctx, countsTimeout)
	defer cancel()
	versions := map[string]int64{}
	for _, v := range list {
		versions[v.Rule.ID] = v.Version
	}
	counts, err := func() (map[string]store.RuleCounts, error) {
		dsn, err := s.runningDSN()
		if err != nil {
			return nil, err
		}
		db, err := store.Open(ctx, dsn)
		if err != nil {
			return nil, err
		}
		defer db.Close()
		return store.ReadRuleCounts(ctx, db, tenant, versions)
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "keypulse: rules are shown without their counts: %v (give the settings that KeyPulse runs with)\n", err)
		return nil
	}
	return counts
}
