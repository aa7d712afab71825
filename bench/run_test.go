package bench

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// fasthttp's cleaner sleeps once more, up to 5 s, before it finds its connections closed and ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func TestOpenLoop(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	r := mustRun(t, s.load(400))
	if r.Requests != 400 || r.Events != 400 || r.ErrorCount != 0 || r.Unsent != 0 || r.RateLimited != 0 {
		t.Errorf("report %+v", r)
	}
	if len(s.accepted) != 400 {
		t.Errorf("the instance accepted %d events", len(s.accepted))
	}
	if !maps.Equal(r.Statuses, map[string]int64{"201": 400}) {
		t.Errorf("statuses %v", r.Statuses)
	}
	if r.Seconds < 0.2 || r.EventsPerSecond > 2000 {
		t.Errorf("%v events/s in %v s is above the rate", r.EventsPerSecond, r.Seconds)
	}
	if r.Ack.Count != 400 || r.Service.Count != 400 || r.Verdict.Count != 0 || r.Visible != nil {
		t.Errorf("latencies %+v %+v %+v %v", r.Ack, r.Service, r.Verdict, r.Visible)
	}
	if r.Ack.P50 < r.Service.P50 || r.Ack.P50 <= 0 || r.Ack.Max < r.Ack.P999 || r.Ack.P999 < r.Ack.P50 {
		t.Errorf("ack %+v, service %+v", r.Ack, r.Service)
	}
}

func TestStallShowsInDueTimeLatency(t *testing.T) {
	t.Parallel()
	const stall = 400 * time.Millisecond
	s := newInstance(t)
	var until atomic.Int64 // ns since start
	start := time.Now()
	s.before = func(n int) int {
		if n == 100 {
			until.Store(int64(time.Since(start) + stall))
		}
		<-time.After(time.Duration(until.Load()) - time.Since(start))
		return 0
	}
	cfg := s.load(1000)
	cfg.Rate, cfg.Connections = 1000, 4
	r := mustRun(t, cfg)
	// 400 of 1000 slots are due during the stall; they wait 200 ms on average. Only four requests see it themselves.
	if r.Ack.Max < 390 || r.Ack.P90 < 200 {
		t.Errorf("ack from the due time hides the stall: %+v", r.Ack)
	}
	if r.Service.P99 > 200 || r.Service.Max < 390 {
		t.Errorf("service time is not that of single requests: %+v", r.Service)
	}
	if r.Late < 300 {
		t.Errorf("%d late sends", r.Late)
	}
}

func TestOverloadGivesUp(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	s.before = func(int) int { <-time.After(20 * time.Millisecond); return 0 }
	cfg := s.load(200)
	cfg.Connections, cfg.Timeout = 1, 60*time.Millisecond
	r := mustRun(t, cfg)
	if r.Unsent == 0 || r.Unsent+r.Requests != 200 {
		t.Errorf("%d unsent, %d requests", r.Unsent, r.Requests)
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	cfg := s.load(500)
	cfg.Rate, cfg.Duration = 0, 0
	if r := mustRun(t, cfg); r.Events != 500 || r.Late != 0 || r.EventsPerSecond <= 0 {
		t.Errorf("bound by events: %+v", r)
	}
	cfg.Events, cfg.Duration = 0, 100*time.Millisecond
	if r := mustRun(t, cfg); r.Events == 0 || r.Seconds < 0.1 || r.Seconds > 1 {
		t.Errorf("bound by time: %+v", r)
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	cfg := s.load(250)
	cfg.Batch, cfg.Rate = 20, 5000
	r := mustRun(t, cfg)
	if r.Requests != 13 || r.Events != 250 || len(s.accepted) != 250 || r.Ack.Count != 13 {
		t.Errorf("%d requests, %d events, %d accepted: %+v", r.Requests, r.Events, len(s.accepted), r)
	}
}

func TestWarmUpDoesNotCount(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	cfg := s.load(100)
	cfg.WarmUp = time.Second
	if r := mustRun(t, cfg); r.Events != 100 || len(s.accepted) != 110 {
		t.Errorf("%d events, %d accepted", r.Events, len(s.accepted))
	}
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	release := make(chan struct{})
	s.before = func(n int) int {
		switch {
		case n <= 10:
			return http.StatusServiceUnavailable
		case n <= 30:
			return http.StatusTooManyRequests
		case n <= 35:
			return -1
		case n == 36:
			<-release
		}
		return 0
	}
	cfg := s.load(100)
	cfg.Timeout = 500 * time.Millisecond
	r := mustRun(t, cfg)
	close(release)
	want := map[string]int64{"status 503 test_code": 10, "connection closed": 5, "timeout": 1}
	if !maps.Equal(r.Errors, want) || r.ErrorCount != 16 {
		t.Errorf("errors %v", r.Errors)
	}
	if r.RateLimited != 20 || r.Events != 64 || r.Ack.Count != 64 || r.FirstError == "" {
		t.Errorf("report %+v", r)
	}
	if !maps.Equal(r.Statuses, map[string]int64{"201": 64, "429": 20, "503": 10}) {
		t.Errorf("statuses %v", r.Statuses)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := loadOf("http://"+l.Addr().String(), 20)
	_ = l.Close()
	r := mustRun(t, cfg)
	if !maps.Equal(r.Errors, map[string]int64{"connection refused": 20}) || r.Events != 0 {
		t.Errorf("errors %v", r.Errors)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name  string
		batch int
		async bool
	}{{"single", 1, false}, {"batch", 10, false}, {"async", 1, true}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			s := newInstance(t)
			s.ruleAfter, s.alertsAfter = 1, 1
			cfg := s.load(200)
			cfg.Alerts, cfg.AlertEvery, cfg.Batch, cfg.Async = true, 50, mode.batch, mode.async
			r := mustRun(t, cfg)
			raised := int64(4)
			if mode.async {
				raised = 0
			}
			if r.AlertsTriggered != raised || r.Verdict.Count != raised {
				t.Errorf("%d alerts triggered, verdict %+v", r.AlertsTriggered, r.Verdict)
			}
			if v := r.Visible; v == nil || v.Count != 4 || v.Unseen != 0 || len(v.PollErrors) != 0 || v.P50 < 50 {
				t.Errorf("visible %+v", v)
			}
			if unevaluated := r.NotEvaluated == 200; unevaluated != mode.async || (s.async == 200) != mode.async {
				t.Errorf("%d not evaluated, %d async requests", r.NotEvaluated, s.async)
			}
			if s.rules != 1 || s.deleted != 1 {
				t.Errorf("%d rules made, %d deleted", s.rules, s.deleted)
			}
		})
	}
}

func TestRuleExistsAlready(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	s.rules = 1
	cfg := s.load(10)
	cfg.Alerts = true
	mustRun(t, cfg)
}

func TestRuleRefused(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	s.rulesStatus = http.StatusForbidden
	cfg := s.load(10)
	cfg.Alerts = true
	_, err := Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "create rule bench-7: status 403: rules say no") {
		t.Errorf("error %v", err)
	}
	if s.deleted != 0 {
		t.Error("it deletes a rule that it did not make")
	}
}

func TestRuleThatStays(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	s.deleteStatus = http.StatusTooManyRequests
	cfg := s.load(10)
	cfg.Alerts = true
	r, err := Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "delete rule bench-7, which is in force still: status 429") || r.Events != 10 {
		t.Errorf("%d events, error %v", r.Events, err)
	}
}

func TestCancelDeletesTheRule(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(n int) int {
		if n == 20 {
			cancel()
		}
		return 0
	}
	cfg := s.load(1_000_000)
	cfg.Alerts = true
	if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) || s.deleted != 1 {
		t.Errorf("%d rules deleted, error %v", s.deleted, err)
	}
}

func TestCancelReturnsWhatThereIs(t *testing.T) {
	t.Parallel()
	s := newInstance(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(n int) int {
		if n == 20 {
			cancel()
		}
		return 0
	}
	cfg := s.load(1_000_000)
	cfg.Rate = 100
	start := time.Now()
	r, err := Run(ctx, cfg)
	if !errors.Is(err, context.Canceled) || r.Events < 15 || r.Events > 30 {
		t.Errorf("%d events, %v", r.Events, err)
	}
	if time.Since(start) > 2*time.Second || r.EventsPerSecond > 200 || r.EventsPerSecond < 50 {
		t.Errorf("%v events/s after %v", r.EventsPerSecond, time.Since(start))
	}
}

func TestAlarm(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := newAlarm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for range 20 {
		due := time.Now().Add(300 * time.Microsecond)
		if err := a.wait(due); err != nil || time.Now().Before(due) {
			t.Fatalf("woke %v early, %v", time.Until(due), err)
		}
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := a.wait(time.Now().Add(time.Hour)); err != nil || ctx.Err() == nil {
		t.Errorf("end of the context: %v", err)
	}
}
