package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"keypulse/processor/trial"
	"keypulse/rules"
)

// testRules runs the tests of all rules in some files.
func testRules(args []string) error {
	set := flag.NewFlagSet("rules test", flag.ContinueOnError)
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
	tests, err := readTests(set.Args())
	if err != nil {
		return err
	}
	writeUntested(os.Stdout, all, tests)
	return runTests(os.Stdout, all, tests, true)
}

// testBeforeApply runs the tests of rules that are about to be applied, and tells of those that fail.
func testBeforeApply(files []string, all []rules.Rule) error {
	tests, err := readTests(files)
	if err != nil {
		return err
	}
	if err := runTests(os.Stdout, all, tests, false); err != nil {
		return fmt.Errorf("nothing is applied: %w (--skip-tests applies all the same)", err)
	}
	return nil
}

// fileTest is a test and the file that it stands in.
type fileTest struct {
	trial.Test
	file string
}

// readTests reads the tests of all rules in some files; the error names everything that is wrong with any of them.
func readTests(files []string) ([]fileTest, error) {
	var all []fileTest
	var wrong []error
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("read tests: %w", err))
			continue
		}
		_, tests, err := trial.Parse(file, data)
		if err != nil {
			wrong = append(wrong, err)
		}
		for _, t := range tests {
			all = append(all, fileTest{t, file})
		}
	}
	return all, errors.Join(wrong...)
}

// writeUntested names the rules that have no test.
func writeUntested(w io.Writer, all []rules.Rule, tests []fileTest) {
	tested := map[string]bool{}
	for _, t := range tests {
		tested[t.Rule] = true
	}
	for _, r := range all {
		if !tested[r.ID] {
			fmt.Fprintf(w, "none  %s has no tests\n", r.ID)
		}
	}
}

// runTests runs tests and writes what came of them: of each, or of those that failed. The error says how many failed.
func runTests(w io.Writer, all []rules.Rule, tests []fileTest, each bool) error {
	failed := 0
	for _, t := range tests {
		result, err := t.Run(all)
		difference := result.Difference
		if err != nil {
			difference = err.Error()
		}
		if difference == "" {
			if each {
				fmt.Fprintf(w, "ok    %s: %s\n", t.Rule, t.Name)
			}
			continue
		}
		failed++
		fmt.Fprintf(w, "FAIL  %s: %s\n      %s:%d\n", t.Rule, t.Name, t.file, t.Line)
		for line := range strings.Lines(difference) {
			fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, count(len(tests), "test"))
	}
	if each {
		fmt.Fprintf(w, "%s passed.\n", count(len(tests), "test"))
	}
	return nil
}
