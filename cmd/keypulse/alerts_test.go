package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// role runs a role as a process of its own on the Kafka and ClickHouse of the instance, until stop is called.
func (in *instance) role(name string) (node *instance, stop func()) {
	in.t.Helper()
	listen := freeAddress(in.t)
	cmd := keypulse([]string{
		in.settings[0], "KEYPULSE_LISTEN=" + listen, "KEYPULSE_LOG_LEVEL=warn",
		"KEYPULSE_KAFKA_BROKERS=" + strings.TrimPrefix(in.settings[2], "KEYPULSE_KAFKA_LISTEN="),
		"KEYPULSE_CLICKHOUSE_DSN=" + in.dsn(in.t),
	}, name)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			in.t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
	in.t.Cleanup(stop)
	node = &instance{t: in.t, url: "http://" + listen, apiKey: in.apiKey}
	await(in.t, name+" ready", 30*time.Second, func() error {
		r, err := node.try(http.MethodGet, "/readyz", "")
		if err == nil && r.status != http.StatusOK {
			err = fmt.Errorf("%d %s", r.status, r.body)
		}
		return err
	})
	return node, stop
}

// shownAlert is an alert as far as people changed it.
type shownAlert struct {
	ID      string
	State   string
	By      string `json:"state_by"`
	Comment string `json:"state_comment"`
	Actions []struct{ Action, By, Comment string }
}

// alerts lists the alerts in a state.
func (in *instance) alerts(state string) []shownAlert {
	in.t.Helper()
	var list struct{ Alerts []shownAlert }
	in.call(http.MethodGet, "/api/alerts?state="+state, "").into(in.t, &list)
	return list.Alerts
}

// act does something with an alert, and returns it as it is then.
func (in *instance) act(id, what, comment string) shownAlert {
	in.t.Helper()
	r := in.call(http.MethodPost, "/api/alerts/"+id+"/"+what, fmt.Sprintf(`{"comment":%q}`, comment))
	if r.status != http.StatusOK {
		in.t.Fatalf("%s answered %d: %s", what, r.status, r.body)
	}
	var a shownAlert
	r.into(in.t, &a)
	return a
}

// TestPeopleActOnAlerts acts on two nodes, and finds everything where it was after a kill.
func TestPeopleActOnAlerts(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	output(t, in.settings, "rules", "apply", "--tenant", "demo", writeFile(t, "rule.yaml", exportBurst))
	for range 4 {
		in.post("signing-key-01", "export")
	}
	in.awaitAlert("the alert", 1)
	id := in.alerts("open")[0].ID
	other, stop := in.role("query")

	if a := in.act(id, "ack", "looking"); a.State != "acked" || a.Comment != "looking" || a.By == "" || len(a.Actions) != 1 {
		t.Errorf("after ack: %+v", a)
	}
	if open, acked := in.alerts("open"), in.alerts("acked"); len(open) != 0 || len(acked) != 1 || acked[0].Comment != "looking" {
		t.Errorf("open: %+v, acked: %+v", open, acked)
	}
	await(t, "the other node knows", 20*time.Second, func() error {
		if acked := other.alerts("acked"); len(acked) != 1 {
			return fmt.Errorf("acked there: %+v", acked)
		}
		return nil
	})
	if a := other.act(id, "resolve", "a drill"); a.State != "resolved" || len(a.Actions) != 2 {
		t.Errorf("after resolve: %+v", a)
	}
	await(t, "this node knows", 20*time.Second, func() error {
		if resolved := in.alerts("resolved"); len(resolved) != 1 || resolved[0].Comment != "a drill" {
			return fmt.Errorf("resolved here: %+v", resolved)
		}
		return nil
	})
	if e := in.post("signing-key-01", "export"); e.AlertsTriggered != 0 || !e.Evaluated {
		t.Errorf("an export after people acted: %+v, want a hit and no alert", e)
	}
	stop()

	in.kill()
	in.start()
	in.ready()
	var a shownAlert
	in.call(http.MethodGet, "/api/alerts/"+id, "").into(t, &a)
	if a.State != "resolved" || len(a.Actions) != 2 || a.Actions[0].Comment != "looking" || a.Actions[1].Action != "resolve" {
		t.Errorf("after a kill: %+v", a)
	}
	if a = in.act(id, "reopen", ""); a.State != "open" || a.Comment != "" || len(a.Actions) != 3 {
		t.Errorf("after reopen: %+v", a)
	}
	in.awaitAlert("the hit on the alert", 2)
	if r := in.call(http.MethodPost, "/api/alerts/al_none/ack", ""); r.status != http.StatusNotFound {
		t.Errorf("an unknown alert: %d", r.status)
	}
}
