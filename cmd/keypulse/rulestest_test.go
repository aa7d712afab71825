package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestLibraryPasses runs `keypulse rules test` over deploy/rules.
func TestLibraryPasses(t *testing.T) {
	files, err := filepath.Glob("../../deploy/rules/*.yaml")
	if err != nil || len(files) < 13 {
		t.Fatal(files, err)
	}
	all, err := readRuleFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := readTests(files)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	writeUntested(&out, all, tests)
	if err := runTests(&out, all, tests, false); err != nil || out.Len() > 0 {
		t.Errorf("%v\n%s", err, &out)
	}
}

const testedRule = `id: r
name: R
when: event_type == "export"
severity: nominal
tests:
  - name: it fires
    events: [{event_type: export}]
    alerts: 1
  - name: it fires on everything
    events: [{}]
    alerts: 1
---
{id: s, name: S, when: 'true', severity: nominal}
`

// TestRulesTest looks at what is printed, and that nothing is applied when a test fails.
func TestRulesTest(t *testing.T) {
	file := writeFile(t, "r.yaml", testedRule)
	all, err := readRuleFiles([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	tests, err := readTests([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	writeUntested(&out, all, tests)
	err = runTests(&out, all, tests, true)
	want := "none  s has no tests\nok    r: it fires\nFAIL  r: it fires on everything\n      " + file +
		":9\n      expected 1 alert, came 0\n"
	if out.String() != want || err == nil || err.Error() != "1 of 2 tests failed" {
		t.Errorf("%v\n%s\nwant\n%s", err, &out, want)
	}
	err = run(t.Context(), []string{"rules", "apply", "--tenant", "demo", file})
	if err == nil || !strings.HasPrefix(err.Error(), "nothing is applied: 1 of 2 tests failed") {
		t.Errorf("apply: %v", err)
	}
	bad := writeFile(t, "bad.yaml", strings.ReplaceAll(testedRule, "alerts", "alarms"))
	err = run(t.Context(), []string{"rules", "test", bad})
	if err == nil || !strings.HasPrefix(err.Error(), bad+":8:5: tests[0].alarms: there is no such member") {
		t.Errorf("test: %v", err)
	}
}
