package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/schema"
)

const testKey = "kp_live_test"

// sentEvent is an event as api.md has it.
type sentEvent struct {
	KeyID     string          `json:"key_id"`
	EventType string          `json:"event_type"`
	Severity  string          `json:"severity"`
	SourceIP  string          `json:"source_ip"`
	Actor     string          `json:"actor"`
	Details   json.RawMessage `json:"details"`
}

// check says what api.md would refuse about e.
func (e *sentEvent) check() error {
	if _, ok := schema.ParseSeverity(e.Severity); !ok {
		return fmt.Errorf("severity %q", e.Severity)
	}
	if _, err := netip.ParseAddr(e.SourceIP); err != nil {
		return fmt.Errorf("source_ip: %w", err)
	}
	for _, s := range []string{e.KeyID, e.EventType, e.Actor} {
		if len(s) < 1 || len(s) > 256 {
			return fmt.Errorf("member of %d bytes", len(s))
		}
	}
	var details struct {
		AmountUSD   float64 `json:"amount_usd"`
		Destination string  `json:"destination"`
		Attempt     int     `json:"attempt"`
	}
	if err := strict(e.Details, &details); err != nil || details.AmountUSD <= 0 || details.Destination == "" {
		return fmt.Errorf("details %s: %w", e.Details, err)
	}
	return nil
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data after the value")
	}
	return nil
}

// instance answers as api.md says and fails the test for a request that is not as api.md says.
type instance struct {
	*httptest.Server
	t *testing.T
	// before runs before the n-th POST of events (from 1) is answered, without the lock. It returns the status, 0 for
	// the usual one; -1 ends the connection without an answer.
	before func(n int) int
	// alertsAfter is how many GET /api/alerts do not show an alert yet.
	alertsAfter int
	rulesStatus int // of POST /api/rules; 0 = 201 once, then 409
	// deleteStatus is the status of DELETE /api/rules/{id}; 0 = 204.
	deleteStatus int
	ruleAfter    int // probes that do not raise an alert yet

	mu sync.Mutex
	// guards the following
	posts    int
	accepted []sentEvent // in 2xx answers
	async    int         // requests with respond-async
	rules    int
	deleted  int
	probes   int
	polls    int
	alerts   []alertAt
}

type alertAt struct {
	eventID int
	poll    int // the polls before it
}

func newInstance(t *testing.T) *instance {
	t.Helper()
	s := &instance{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/events", s.post)
	mux.HandleFunc("POST /api/events/batch", s.post)
	mux.HandleFunc("POST /api/rules", s.postRule)
	mux.HandleFunc("DELETE /api/rules/bench-7", s.deleteRule)
	mux.HandleFunc("GET /api/alerts", s.getAlerts)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+testKey {
			t.Errorf("Authorization %q", got)
		}
		if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("Content-Type %q", r.Header.Get("Content-Type"))
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *instance) post(w http.ResponseWriter, r *http.Request) {
	events, batch := s.decode(r)
	s.mu.Lock()
	s.posts++
	n := s.posts
	s.mu.Unlock()
	status := 0
	if s.before != nil {
		status = s.before(n)
	}
	switch {
	case status == -1:
		panic(http.ErrAbortHandler)
	case status != 0:
		writeJSON(w, status, map[string]any{"success": false, "code": "test_code", "message": "the \"test\" says no"})
		return
	}
	async := r.Header.Get("Prefer") == "respond-async"
	s.answer(w, events, batch, async)
}

func (s *instance) decode(r *http.Request) (events []sentEvent, batch bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Errorf("read body: %v", err)
	}
	if batch = strings.HasSuffix(r.URL.Path, "/batch"); batch {
		var b struct{ Events []sentEvent }
		err = strict(body, &b)
		events = b.Events
	} else {
		events = make([]sentEvent, 1)
		err = strict(body, &events[0])
	}
	if err != nil || len(events) < 1 || len(events) > 100 {
		s.t.Errorf("body %s: %v", body, err)
	}
	for i := range events {
		if err := events[i].check(); err != nil {
			s.t.Errorf("event %d: %v", i, err)
		}
	}
	return events, batch
}

func (s *instance) answer(w http.ResponseWriter, events []sentEvent, batch, async bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusCreated
	if async {
		s.async++
		status = http.StatusAccepted
	}
	total := 0
	answers := make([]map[string]any, len(events))
	for i, e := range events {
		s.accepted = append(s.accepted, e)
		id, raised := 1000+len(s.accepted), s.judge(e)
		if raised > 0 {
			s.alerts = append(s.alerts, alertAt{eventID: id, poll: s.polls})
		}
		if async {
			raised = 0
		}
		total += raised
		answers[i] = map[string]any{
			"id": id, "key_id": e.KeyID, "event_type": e.EventType, "severity": e.Severity, "source_ip": e.SourceIP,
			"actor": e.Actor, "details": e.Details, "created_at": "2026-04-05T12:34:00.000Z",
			"alerts_triggered": raised, "evaluated": !async,
		}
	}
	if batch {
		writeJSON(w, status, map[string]any{"success": true, "count": len(events), "events": answers, "alerts_triggered": total})
		return
	}
	answers[0]["success"] = true
	writeJSON(w, status, answers[0])
}

// judge is called with the lock held.
func (s *instance) judge(e sentEvent) (raised int) {
	if e.EventType != "bench_probe" || s.rules == 0 {
		return 0
	}
	s.probes++
	if s.probes <= s.ruleAfter {
		return 0
	}
	return 1
}

func (s *instance) postRule(w http.ResponseWriter, r *http.Request) {
	var rule struct{ ID, Name, When, Severity, Dedup string }
	body, _ := io.ReadAll(r.Body)
	if err := strict(body, &rule); err != nil {
		s.t.Errorf("rule %s: %v", body, err)
	}
	if rule.ID != "bench-7" || rule.When != `event_type == "bench_probe"` || rule.Dedup != "0s" || rule.Severity != "nominal" || rule.Name == "" {
		s.t.Errorf("rule %+v", rule)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusCreated
	if s.rules++; s.rules > 1 {
		status = http.StatusConflict
	}
	if s.rulesStatus != 0 {
		status = s.rulesStatus
	}
	writeJSON(w, status, map[string]any{"success": status == http.StatusCreated, "message": "rules say no"})
}

func (s *instance) deleteRule(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted++
	if s.deleteStatus != 0 {
		writeJSON(w, s.deleteStatus, map[string]any{"success": false, "code": "rate_limited", "message": "too much"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *instance) getAlerts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 500 || q.Get("rule") != "bench-7" || len(q) != 2 {
		s.t.Errorf("GET /api/alerts?%s", r.URL.RawQuery)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls++
	alerts := []map[string]any{}
	for i := len(s.alerts) - 1; i >= 0 && len(alerts) < limit; i-- {
		if a := s.alerts[i]; s.polls-a.poll > s.alertsAfter {
			alerts = append(alerts, map[string]any{"id": fmt.Sprint("al_", i), "event_id": a.eventID, "values": map[string]any{"event_id": 1}})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"success": true, "alerts": alerts, "next_cursor": nil, "has_more": false})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *instance) load(events int) Config { return loadOf(s.URL, events) }

// loadOf returns a small Config: no warm-up, seed 7, 2000 events/s.
func loadOf(url string, events int) Config {
	cfg := DefaultConfig()
	cfg.URL, cfg.APIKey = url, testKey
	cfg.Seed, cfg.Rate, cfg.Events, cfg.WarmUp = 7, 2000, events, 0
	cfg.Connections = 8
	return cfg
}

func mustRun(t *testing.T, cfg Config) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
