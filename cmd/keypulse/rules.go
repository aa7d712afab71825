package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"keypulse/internal/broker"
	"keypulse/rules"
	"keypulse/schema"
)

const rulesUsage = `usage: keypulse rules apply --tenant T FILE…
       keypulse rules check FILE…
       keypulse rules list --tenant T
       keypulse rules show --tenant T ID`

// runRules administers rules beside a running installation; check needs none.
func runRules(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usagef("%s", rulesUsage)
	}
	switch args[0] {
	case "apply":
		return applyRules(ctx, args[1:])
	case "check":
		return checkRules(args[1:])
	case "list":
		return listRules(ctx, args[1:])
	case "show":
		return showRule(ctx, args[1:])
	}
	return usagef("unknown command rules %s\n%s", args[0], rulesUsage)
}

// readRuleFiles reads and compiles all files; the error names everything that is wrong with any of them.
func readRuleFiles(files []string) ([]rules.Rule, error) {
	var all []rules.Rule
	var wrong []error
	seen := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("read rules: %w", err))
			continue
		}
		parsed, err := rules.ParseYAML(file, data)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		for _, r := range parsed {
			if _, err := rules.Compile(r); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: rule %s:\n%w", file, r.ID, err))
			}
			if other, ok := seen[r.ID]; ok {
				wrong = append(wrong, fmt.Errorf("%s: rule %s stands in %s already", file, r.ID, other))
			}
			seen[r.ID] = file
		}
		all = append(all, parsed...)
	}
	return all, errors.Join(wrong...)
}

func checkRules(args []string) error {
	if len(args) == 0 {
		return usagef("usage: keypulse rules check FILE…")
	}
	all, err := readRuleFiles(args)
	if err != nil {
		return err
	}
	fmt.Printf("%d rules are good.\n", len(all))
	return nil
}

// rulesCommand parses the settings of a command for one tenant.
func rulesCommand(name string, args []string) (*settings, schema.Tenant, []string, error) {
	var tenant string
	s, rest, err := parseSettings("rules "+name, args, func(fs *flag.FlagSet) {
		fs.StringVar(&tenant, "tenant", "", "the company whose rules they are")
	})
	if err != nil {
		return nil, "", nil, err
	}
	t, err := schema.ParseTenant(tenant)
	if err != nil {
		return nil, "", nil, usagef("--tenant: %v", err)
	}
	return s, t, rest, nil
}

// withBook runs f beside a running installation with all rules.
func withBook(ctx context.Context, s *settings, f func(context.Context, *broker.Client, *rules.Book) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := openAdmin(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	book, err := readBook(ctx, c)
	if err != nil {
		return err
	}
	return f(ctx, c, book)
}

func applyRules(ctx context.Context, args []string) error {
	s, tenant, files, err := rulesCommand("apply", args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return usagef("usage: keypulse rules apply --tenant T FILE…")
	}
	all, err := readRuleFiles(files)
	if err != nil {
		return err
	}
	return withBook(ctx, s, func(ctx context.Context, c *broker.Client, book *rules.Book) error {
		for _, r := range all {
			version, changed, err := applyRule(ctx, c, book, tenant, r)
			if err != nil {
				return err
			}
			state := "unchanged"
			if changed {
				state = "applied"
			}
			fmt.Printf("%s  version %d  %s\n", r.ID, version, state)
		}
		return nil
	})
}

// applyRule makes a rule the tenant's, as a new version unless it is the current one already.
func applyRule(ctx context.Context, c *broker.Client, book *rules.Book, tenant schema.Tenant, r rules.Rule) (version int64, changed bool, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return 0, false, fmt.Errorf("encode rule %s: %w", r.ID, err)
	}
	current, ok := book.Rule(tenant, r.ID)
	if ok && !current.Deleted {
		if old, err := json.Marshal(current.Rule); err == nil && bytes.Equal(old, text) {
			return current.Version, false, nil
		}
	}
	record := schema.RuleRecord{
		Tenant: tenant, ID: r.ID, Version: current.Version + 1, Rule: text,
		By: "keypulse rules apply", At: schema.MillisOf(time.Now()),
	}
	offset, err := appendControl(ctx, c, schema.TopicRules, schema.RecordKey(tenant, r.ID), record)
	if err != nil {
		return 0, false, err
	}
	if err := readControl(ctx, c, schema.TopicRules, func(at int64, key, value []byte) error {
		if at < book.Rev() {
			return nil
		}
		return book.Apply(at, key, value)
	}); err != nil {
		return 0, false, err
	}
	if now, ok := book.Rule(tenant, r.ID); !ok || now.Offset != offset {
		return 0, false, fmt.Errorf("apply rule %s: %w", r.ID, errChanged)
	}
	return record.Version, true, nil
}

func listRules(ctx context.Context, args []string) error {
	s, tenant, _, err := rulesCommand("list", args)
	if err != nil {
		return err
	}
	return withBook(ctx, s, func(_ context.Context, _ *broker.Client, book *rules.Book) error {
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tVERSION\tENABLED\tMODE\tSEVERITY\tSCORE\tDEDUP\tCHANGED\tNAME")
		for _, v := range book.Rules(tenant) {
			r := v.Rule
			fmt.Fprintf(w, "%s\t%d\t%t\t%s\t%s\t%d\t%s\t%s\t%s\n", r.ID, v.Version, r.Enabled, r.Mode, r.Severity, r.Score, r.Dedup, v.At, r.Name)
		}
		return w.Flush()
	})
}

func showRule(ctx context.Context, args []string) error {
	s, tenant, rest, err := rulesCommand("show", args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("usage: keypulse rules show --tenant T ID")
	}
	return withBook(ctx, s, func(_ context.Context, _ *broker.Client, book *rules.Book) error {
		v, ok := book.Rule(tenant, rest[0])
		if !ok || v.Deleted {
			return fmt.Errorf("show rule %s: tenant %s has none with this id", rest[0], tenant)
		}
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(struct {
			Version int64         `json:"version"`
			By      string        `json:"by"`
			At      schema.Millis `json:"at"`
			Rule    rules.Rule    `json:"rule"`
		}{v.Version, v.By, v.At, v.Rule})
	})
}
