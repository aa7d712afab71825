package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/rules"
	"keypulse/schema"
)

// cluster is roles that run as nodes of this process, on one Kafka.
type cluster struct {
	t      *testing.T
	args   []string
	client *broker.Client
	secret *auth.Secret
	apiKey string // of tenant demo, without a limit
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	const partitions = 3
	addr, secretFile := brokertest.StartBroker(t), filepath.Join(t.TempDir(), "secret")
	c := &cluster{t: t, args: []string{
		"--kafka-brokers", addr, "--listen", "127.0.0.1:0", "--secret-file", secretFile, "--log-level", "error",
	}}
	c.client, _ = brokertest.Open(t, addr, partitions)
	var err error
	if c.secret, err = auth.CreateSecret(secretFile); err != nil {
		t.Fatal(err)
	}
	record, apiKey := newAPIKey(c.secret, apiKeyRequest{tenant: "demo", name: "tests", scopes: auth.DefaultScopes()})
	if _, err := putAPIKey(t.Context(), c.client, auth.NewTable(c.secret), schema.AuditCreate, record); err != nil {
		t.Fatal(err)
	}
	c.apiKey = apiKey
	return c
}

// node runs a role until stop is called.
func (c *cluster) node(r role) (in *instance, stop func()) {
	c.t.Helper()
	s, _, err := parseSettings(r.name, c.args, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := newNode(c.t.Context(), s)
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := n.listen()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := n.prepareRole(r); err != nil {
		c.t.Fatal(errors.Join(err, n.stop(), l.Close()))
	}
	n.newServer()
	r.add(n)
	n.serve(l)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := n.stop(); err != nil {
			c.t.Error(err)
		}
	}
	c.t.Cleanup(stop)
	return &instance{t: c.t, url: "http://" + l.Addr().String(), apiKey: c.apiKey}, stop
}

// processor runs a processor until stop is called.
func (c *cluster) processor() (stop func()) {
	c.t.Helper()
	in, stop := c.node(role{name: "processor", book: true, add: (*node).addProcessor})
	await(c.t, "the processor is ready", 20*time.Second, func() error {
		r, err := in.try(http.MethodGet, "/readyz", "")
		if err == nil && r.status != http.StatusOK {
			err = fmt.Errorf("%s", r.body)
		}
		return err
	})
	return stop
}

// rule applies a rule.
func (c *cluster) rule(yaml string) {
	c.t.Helper()
	parsed, err := rules.ParseYAML("rule", []byte(yaml))
	if err != nil {
		c.t.Fatal(err)
	}
	if _, _, err := applyRule(c.t.Context(), c.client, rules.NewBook(), "demo", parsed[0], rules.DefaultBudget); err != nil {
		c.t.Fatal(err)
	}
}

// posts is what became of the events that were posted to some nodes in turn.
type posts struct {
	evaluated int
	took      []time.Duration
}

func (p *posts) median() time.Duration {
	slices.Sort(p.took)
	return p.took[len(p.took)/2]
}

// postTo posts events to the nodes in turn, over all partitions. What is evaluated must be right: an alarm raises one
// alert, and nothing else does.
func postTo(t *testing.T, nodes []*instance, n int) *posts {
	t.Helper()
	p := new(posts)
	for i := range n {
		eventType, alerts := "calm", 0
		if i%2 == 1 {
			eventType, alerts = "alarm", 1
		}
		begin := time.Now()
		e := nodes[i%len(nodes)].post(fmt.Sprint("key-", i%20), eventType)
		p.took = append(p.took, time.Since(begin))
		switch {
		case e.Evaluated && e.AlertsTriggered != alerts, !e.Evaluated && e.AlertsTriggered != 0:
			t.Errorf("post %d, %s: %+v, want %d alerts", i, eventType, e, alerts)
		case e.Evaluated:
			p.evaluated++
		}
	}
	return p
}

// TestEveryIngestNodeKnowsTheVerdict runs three ingest nodes and one processor; the processor goes away for a while, and
// then nobody waits for it.
func TestEveryIngestNodeKnowsTheVerdict(t *testing.T) {
	const n = 240
	c := newCluster(t)
	c.rule("id: alarm\nname: Alarm\nwhen: event_type == \"alarm\"\nseverity: critical\ndedup: 0s\n")
	stop := c.processor()
	var nodes []*instance
	for range 3 {
		in, _ := c.node(role{name: "ingest", keys: true, book: true, add: (*node).addIngest})
		nodes = append(nodes, in)
	}
	all := func(when string) {
		t.Helper()
		for i, in := range nodes {
			await(t, fmt.Sprintf("%s, node %d has verdicts", when, i), 20*time.Second, func() error {
				if p := postTo(t, []*instance{in}, 20); p.evaluated < 20 {
					return fmt.Errorf("%d of 20 are evaluated", p.evaluated)
				}
				return nil
			})
		}
	}
	all("at first")
	usual := postTo(t, nodes, n)
	stop()
	postTo(t, nodes, n/4) // the first ones of each partition and node wait in vain, and find out
	dead, began := postTo(t, nodes, n), time.Now()
	for os.Getenv("KEYPULSE_SOAK") != "" && time.Since(began) < 10*time.Second {
		more := postTo(t, nodes, n)
		dead.evaluated += more.evaluated
		dead.took = append(dead.took, more.took...)
	}
	stop = c.processor()
	all("when it is back")
	back := postTo(t, nodes, n)
	stop()
	t.Logf("POST p50: usual %v, without a processor %v, when it is back %v", usual.median(), dead.median(), back.median())
	if dead.evaluated > 0 {
		t.Errorf("%d events are evaluated without a processor", dead.evaluated)
	}
	if usual.evaluated < n*9/10 || back.evaluated < n*9/10 {
		t.Errorf("%d and %d of %d events are evaluated, want nearly all", usual.evaluated, back.evaluated, n)
	}
	if bound := usual.median() + 50*time.Millisecond; dead.median() > bound {
		t.Errorf("POST p50 is %v without a processor, at most %v wanted", dead.median(), bound)
	}
}

// TestTwoWritersOfOneRule lets two replace the same version at the same time: one is told that it did, and one that it
// did not.
func TestTwoWritersOfOneRule(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	const body = `{"name": "R", "when": "true", "severity": "warning", "version": %d, "score": %d}`
	if r := in.call(http.MethodPost, "/api/rules", `{"id": "r", "name": "R", "when": "true", "severity": "warning"}`); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for version := 1; version <= 10; version++ {
		answers := make(chan reply, 2)
		for writer := range 2 {
			go func() {
				r, err := in.try(http.MethodPut, "/api/rules/r", fmt.Sprintf(body, version, writer))
				if err != nil {
					t.Error(err)
				}
				answers <- r
			}()
		}
		won, lost := <-answers, <-answers
		if won.status != http.StatusOK {
			won, lost = lost, won
		}
		if won.status != http.StatusOK || lost.status != http.StatusConflict || !strings.Contains(string(lost.body), `"code":"conflict"`) {
			t.Fatalf("version %d: got %d %s and %d %s, want 200 and 409", version, won.status, won.body, lost.status, lost.body)
		}
		now := in.call(http.MethodGet, "/api/rules/r", "")
		if string(now.body) != string(won.body) {
			t.Errorf("version %d: the rule is %s, the winner was told %s", version, now.body, won.body)
		}
	}
}
