package ingest

import (
	"strings"
	"testing"
	"time"
)

func TestParsePrefer(t *testing.T) {
	const usual = 250 * time.Millisecond
	async := preference{async: true, applied: "respond-async"}
	wait := func(d time.Duration, applied string) preference { return preference{wait: d, applied: applied} }
	for headers, want := range map[string]preference{
		"":                               wait(usual, ""),
		"respond-async":                  async,
		"Respond-Async":                  async,
		" respond-async ; foo=bar":       async,
		`respond-async=""`:               async,
		"respond-async=yes":              wait(usual, ""),
		"respond-async, wait=5":          async,
		"wait=5, respond-async":          async,
		"handling=lenient\nwait=2":       wait(2*time.Second, "wait=2"),
		"wait=0":                         wait(0, "wait=0"),
		"wait=30":                        wait(30*time.Second, "wait=30"),
		"wait=31":                        wait(30*time.Second, "wait=30"),
		"wait=99999999999999999999":      wait(30*time.Second, "wait=30"),
		`WAIT = "7"`:                     wait(7*time.Second, "wait=7"),
		"wait=3, wait=9":                 wait(3*time.Second, "wait=3"),
		"wait=soon, wait=9":              wait(9*time.Second, "wait=9"),
		"wait=-1":                        wait(usual, ""),
		"wait=+1":                        wait(usual, ""),
		"wait=1.5":                       wait(usual, ""),
		"wait":                           wait(usual, ""),
		"wait=":                          wait(usual, ""),
		"return=minimal":                 wait(usual, ""),
		`note="a, respond-async"`:        wait(usual, ""),
		`note="a\", wait=3", wait=4`:     wait(4*time.Second, "wait=4"),
		`note="never ends, wait=4`:       wait(usual, ""),
		",,;=,\"":                        wait(usual, ""),
		"wait=1;wait=2":                  wait(time.Second, "wait=1"),
		`note=";,";x=",", respond-async`: async,
	} {
		var lines [][]byte
		for line := range strings.SplitSeq(headers, "\n") {
			lines = append(lines, []byte(line))
		}
		if got := parsePrefer(lines, usual); got != want {
			t.Errorf("Prefer: %q: %+v, want %+v", headers, got, want)
		}
	}
	if got := parsePrefer(nil, usual); got != wait(usual, "") {
		t.Errorf("no header: %+v", got)
	}
}
