package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"keypulse/internal/broker"
	"keypulse/rules"
	"keypulse/schema"
)

const rulesUsage = `usage: keypulse rules apply --tenant T [--new-tenant] [--skip-tests] FILE…
       keypulse rules check FILE…
       keypulse rules test FILE…
       keypulse rules list --tenant T
       keypulse rules show --tenant T ID

check and test need nothing that runs. The others work beside a running KeyPulse, with the settings that it runs with.
` + "`keypulse rules COMMAND -h` lists them."

// runRules administers rules beside a running installation; check needs none.
func runRules(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usagef("%s", rulesUsage)
	}
	switch args[0] {
	case "help", "-h", "--help":
		return printUsage(rulesUsage)
	case "apply":
		return applyRules(ctx, args[1:])
	case "check":
		return checkRules(args[1:])
	case "list":
		return listRules(ctx, args[1:])
	case "show":
		return showRule(ctx, args[1:])
	case "test":
		return testRules(args[1:])
	}
	return usagef("there is no command rules %s; see keypulse rules -h", args[0])
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
	set := flag.NewFlagSet("rules check", flag.ContinueOnError)
	if err := parseFlags(set, args, func(w io.Writer) { writeUsage(w, set.Name(), set) }); err != nil {
		return err
	}
	if set.NArg() == 0 {
		return wrongArguments(set.Name())
	}
	all, err := readRuleFiles(set.Args())
	if err != nil {
		return err
	}
	if err := printCosts(all); err != nil {
		return err
	}
	verb := "are"
	if len(all) == 1 {
		verb = "is"
	}
	fmt.Printf("%s %s good.\n", count(len(all), "rule"), verb)
	return nil
}

// printCosts says what each rule may take: time for one event, memory for one key.
func printCosts(all []rules.Rule) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tWORST TIME\tAGGREGATES\tWORST BYTES")
	for _, r := range all {
		p, err := rules.Compile(r)
		if err != nil {
			return fmt.Errorf("compile rule %s: %w", r.ID, err)
		}
		fmt.Fprintf(w, "%s\t%v\t%d\t%d\n", r.ID, p.WorstTime().Round(time.Microsecond), len(p.Aggregates()), p.WorstBytes())
	}
	return w.Flush()
}

// rulesCommand parses the settings of a command for one tenant; more declares its own flags.
func rulesCommand(name string, args []string, more func(*flag.FlagSet), groups ...group) (*settings, schema.Tenant, []string, error) {
	var tenant string
	s, rest, err := parseSettings(name, args, func(fs *flag.FlagSet) {
		fs.StringVar(&tenant, "tenant", "", "the `company` whose rules they are")
		if more != nil {
			more(fs)
		}
	}, groups...)
	if err != nil {
		return nil, "", nil, err
	}
	t, err := parseTenant(tenant)
	return s, t, rest, err
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
	var newTenant, skipTests bool
	s, tenant, files, err := rulesCommand("rules apply", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&newTenant, "new-tenant", false, "the company has no API key yet, and that is no typing error")
		fs.BoolVar(&skipTests, "skip-tests", false, "apply rules even when their own tests fail")
	}, append(slices.Clone(adminGroups), rulesGroup)...)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return wrongArguments("rules apply")
	}
	all, err := readRuleFiles(files)
	if err != nil {
		return err
	}
	if !skipTests {
		if err := testBeforeApply(files, all); err != nil {
			return err
		}
	}
	return withBook(ctx, s, func(ctx context.Context, c *broker.Client, book *rules.Book) error {
		if !newTenant {
			if err := checkTenant(ctx, c, tenant); err != nil {
				return err
			}
		}
		if err := checkApply(ctx, c, tenant, all, s.RuleBudget); err != nil {
			return err
		}
		for _, r := range all {
			version, changed, err := applyRule(ctx, c, book, tenant, r, s.RuleBudget)
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

// checkTenant makes sure that a tenant exists: it has an API key, be it a revoked one.
func checkTenant(ctx context.Context, c *broker.Client, tenant schema.Tenant) error {
	table, err := readKeys(ctx, c, nil)
	if err != nil {
		return err
	}
	var known []string
	for _, e := range table.All() {
		if e.Record.Tenant == tenant {
			return nil
		}
		known = append(known, string(e.Record.Tenant))
	}
	return fmt.Errorf("apply rules: tenant %s has no API key%s; for a tenant that is yet to come, say --new-tenant",
		tenant, didYouMean("", string(tenant), known))
}

// checkApply says what is wrong with the rules beside those that the tenant has, before any of them is written: it
// applies them to a book of its own.
func checkApply(ctx context.Context, c *broker.Client, tenant schema.Tenant, all []rules.Rule, budget time.Duration) error {
	book, err := readBook(ctx, c)
	if err != nil {
		return err
	}
	var wrong []error
	for _, r := range all {
		record, _, err := nextVersion(book, tenant, r, budget)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if record == nil {
			continue
		}
		value, err := json.Marshal(record)
		if err == nil {
			err = book.Apply(book.Rev(), schema.RecordKey(tenant, r.ID), value)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("apply rule %s: %w", r.ID, err))
		}
	}
	if wrong != nil {
		return fmt.Errorf("nothing is applied:\n%w", errors.Join(wrong...))
	}
	return nil
}

// nextVersion makes the record that makes r the tenant's, nil when it is already; then version is the current one. Its
// error says which limit leaves no room for the rule.
func nextVersion(book *rules.Book, tenant schema.Tenant, r rules.Rule, budget time.Duration) (record *schema.RuleRecord, version int64, err error) {
	program, err := rules.Compile(r)
	if err != nil {
		return nil, 0, fmt.Errorf("compile rule %s: %w", r.ID, err)
	}
	current, ok := book.Rule(tenant, r.ID)
	next, err := rules.Record(tenant, program.Rule(), current.Version+1, "keypulse rules apply", schema.MillisOf(time.Now()))
	if err != nil {
		return nil, 0, err
	}
	if ok && !current.Deleted {
		if old, err := json.Marshal(current.Rule); err == nil && bytes.Equal(old, next.Rule) {
			return nil, current.Version, nil
		}
	}
	err = book.Fits(tenant, program)
	if err == nil {
		err = book.FitsBudget(tenant, program, budget)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("rule %s is one too many: %w", r.ID, err)
	}
	return &next, next.Version, nil
}

// applyRule makes a rule the tenant's, as a new version unless it is the current one already.
func applyRule(ctx context.Context, c *broker.Client, book *rules.Book, tenant schema.Tenant, r rules.Rule, budget time.Duration) (version int64, changed bool, err error) {
	record, version, err := nextVersion(book, tenant, r, budget)
	if err != nil || record == nil {
		return version, false, err
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
	return version, true, nil
}
