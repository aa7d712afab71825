package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// snippets are the README's code blocks of a language, in order.
func snippets(t *testing.T, language string) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for i, part := range strings.Split(string(readme), "```") {
		if code, ok := strings.CutPrefix(part, language+"\n"); ok && i%2 == 1 {
			found = append(found, code)
		}
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s", language)
	}
	return found
}

// TestReadmeSnippets runs what the README shows, as a user would paste it, and reads what it prints.
func TestReadmeSnippets(t *testing.T) {
	in := upAndReady(t)
	run := func(code, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "KEYPULSE_URL="+in.url, "KEYPULSE_API_KEY="+in.apiKey)
		cmd.Stdin = strings.NewReader(code)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", code, err, out)
		}
		return string(out)
	}
	var printed []string
	for i, code := range snippets(t, "bash") {
		printed = append(printed, run(code, "bash", "-eu"))
		for i == 0 && !strings.Contains(run(snippets(t, "bash")[1], "bash", "-eu"), `"total_events":1`) {
			continue // a person is slower than the half second until an event is in every list
		}
	}
	posted, lists, rule, alert := printed[0], printed[1], printed[2], printed[3]
	t.Run("the first event answers as shown", func(t *testing.T) {
		shown, got := members(t, snippets(t, "json")[0]), members(t, posted)
		for name, value := range shown {
			switch name {
			case "id", "created_at", "event_id":
			default:
				if got[name] != value {
					t.Errorf("%s is %s, shown as %s", name, got[name], value)
				}
			}
			delete(got, name)
		}
		if len(got) > 0 {
			t.Errorf("not shown: %v", got)
		}
	})
	for text, in := range map[string]string{
		`"my-signing-key-01"`:      lists,
		`"severity_breakdown"`:     lists,
		`"success":true`:           rule,
		`"alerts_triggered":1`:     alert,
		`"rule_id":"export-burst"`: alert,
	} {
		if !strings.Contains(in, text) {
			t.Errorf("no %s in %s", text, in)
		}
	}
	for _, code := range snippets(t, "python") {
		if out := run(code, "python3", "-"); !strings.HasPrefix(out, "2 0 [") {
			t.Errorf("Python printed %s", out)
		}
	}
	for _, code := range snippets(t, "javascript") {
		if out := run(code, "node", "--input-type=module", "-"); len(strings.Fields(out)) != 3 {
			t.Errorf("JavaScript printed %s", out)
		}
	}
}

// members are the members of a JSON object, each as its text.
func members(t *testing.T, text string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	m := make(map[string]string, len(raw))
	for name, value := range raw {
		m[name] = string(value)
	}
	return m
}
