package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const countedRules = `
- {id: live, name: Live, severity: warning, when: event_type == "export"}
- {id: quiet, name: Quiet, severity: warning, mode: shadow, when: event_type == "export" && actor == ""}
- {id: broken-by-a-test, name: Broken, severity: warning, when: event_type != ""}
`

// TestRulesCount sees what rules have counted as their authors do: over HTTP, on the command line, in the metrics; with a client
// that repeats itself, and over a kill.
func TestRulesCount(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rules.yaml", countedRules))
	await(t, "the rules are in force", 60*time.Second, func() error {
		if r := in.call(http.MethodGet, "/api/rules", ""); strings.Count(string(r.body), `"complete_from"`) != 3 {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})
	in.post("signing-key-01", "rotation") // the one event for which the broken rule holds
	send := func(from, to int) (last int64) {
		for i := from; i < to; i++ {
			time.Sleep(2 * time.Millisecond) // so that the last error is the newest by the millisecond
			for range 2 {                    // the second one is a duplicate
				var e event
				body := fmt.Sprintf(`{"key_id":"signing-key-0%d","event_type":"export","severity":"nominal","event_id":"e-%d"}`, i%3, i)
				in.call(http.MethodPost, "/api/events", body).into(t, &e)
				last = e.ID
			}
		}
		return last
	}
	check := func(n int, last int64) {
		t.Helper()
		want := fmt.Sprintf("broken-by-a-test 1 0 %d, when: broken by a test, event %d\nlive %d 0 0\nquiet 0 %d 0\n", n, last, n, n)
		await(t, "the counts", 60*time.Second, func() error {
			var list struct {
				Rules []struct {
					ID         string
					Hits       int64
					ShadowHits int64 `json:"shadow_hits"`
					RuleErrors int64 `json:"rule_errors"`
					LastError  *struct {
						Message string
						EventID int64 `json:"event_id"`
						At      string
					} `json:"last_error"`
				}
			}
			in.call(http.MethodGet, "/api/rules", "").into(t, &list)
			var got strings.Builder
			for _, r := range list.Rules {
				fmt.Fprintf(&got, "%s %d %d %d", r.ID, r.Hits, r.ShadowHits, r.RuleErrors)
				if e := r.LastError; e != nil {
					fmt.Fprintf(&got, ", %s, event %d", e.Message, e.EventID)
				}
				fmt.Fprintln(&got)
			}
			if got.String() != want {
				return fmt.Errorf("the rules say\n%swant\n%s", got.String(), want)
			}
			return nil
		})
	}
	check(5, send(0, 5))
	in.kill()
	in.start()
	in.ready()
	last := send(4, 8) // the first of them was sent before
	check(8, last)

	listed := output(t, in.settings, "rules", "list", "--tenant", "demo")
	for _, line := range strings.Split(strings.TrimSpace(listed), "\n")[1:] {
		f := strings.Fields(line)
		want := map[string]string{"live": "8 0 0", "quiet": "0 8 0", "broken-by-a-test": "1 0 8"}[f[0]]
		if got := strings.Join(f[7:10], " "); got != want {
			t.Errorf("the list says of %s %s, want %s", f[0], got, want)
		}
	}
	shown := output(t, in.settings, "rules", "show", "--tenant", "demo", "broken-by-a-test")
	for _, want := range []string{`"hits": 1,`, `"rule_errors": 8,`, `"message": "when: broken by a test",`, fmt.Sprintf(`"event_id": %d,`, last)} {
		if !strings.Contains(shown, want) {
			t.Errorf("show has no %s: %s", want, shown)
		}
	}
	figures := in.call(http.MethodGet, "/metrics", "").body
	for _, want := range []string{`keypulse_rule_hits_total{rule="live",tenant="demo"}`, `keypulse_rule_shadow_hits_total{rule="quiet",`, `keypulse_rule_errors_total{rule="broken-by-a-test",`} {
		if !strings.Contains(string(figures), want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if verified := output(t, in.settings, "verify", "--wait", "1m"); !strings.Contains(verified, "rule_counts") {
		t.Errorf("verify says %s", verified)
	}
}
