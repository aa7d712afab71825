package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"keypulse/dashboard"
)

// TestDashboard has a browser use the dashboard as a person does: dashboard/test/browser.mjs says how.
func TestDashboard(t *testing.T) {
	if !dashboard.Built() {
		t.Skip("the dashboard is not built: make test builds it")
	}
	in := upAndReady(t)
	var made struct {
		APIKey string `json:"api_key"`
	}
	text := output(t, in.settings, "apikey", "create", "--tenant", "demo", "--name", "owner", "--scopes", "ingest,read,rules,admin", "--rate-limit", "0", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	owner := &instance{t: t, url: in.url, apiKey: made.APIKey}
	await(t, "the owner's key", 20*time.Second, func() error {
		if r := owner.call("GET", "/api/session", ""); r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser.mjs")
	cmd.Dir = "../../dashboard/test"
	cmd.Env = append(os.Environ(), "KEYPULSE_URL="+in.url, "KEYPULSE_API_KEY="+made.APIKey)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	toBrowser, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(fromBrowser)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if lines.Text() != "restart" {
			t.Log(lines.Text())
			continue
		}
		if code := in.terminate(); code != 0 {
			t.Errorf("exit code %d with the dashboard open", code)
		}
		in.start()
		in.ready()
		if _, err := io.WriteString(toBrowser, "it is back\n"); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the browser: %v\n%s\nthe server:\n%s", err, stderr.String(), in.printed())
	}
}
