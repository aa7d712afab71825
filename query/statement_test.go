package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/auth/authtest"
	"keypulse/internal/httpapi"
)

// endless is a statement that runs until somebody ends it.
const endless = `SELECT sleepEachRow(0.1) FROM numbers(100000) WHERE {x:UInt8} = 1 SETTINGS max_block_size = 1`

func discard(driver.Rows) error { return nil }

// fails wants a statement to fail with a status and a code.
func (a *api) fails(j *job, sql string, args []any, status int, code string) {
	a.t.Helper()
	defer j.end()
	err := j.each("test", sql, args, discard)
	var e *httpapi.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code || e.Cause == nil {
		a.t.Errorf("%s: got %v, want %d %s with a cause", sql, err, status, code)
	}
}

func one(name string) []any {
	w := &where{}
	w.bind(name, 1)
	return w.args
}

func TestStatementFailures(t *testing.T) {
	a := newAPI(t, func(cfg *Config) { cfg.StatementMemory = 16 << 20 })
	const short, long = 100 * time.Millisecond, 30 * time.Second
	a.fails(a.query.newJob(authtest.Tenant(t, "demo"), "slow", short), endless, one("x"), 503, codeTooSlow)
	a.fails(a.query.newJob(authtest.Tenant(t, "demo"), "big", long), "SELECT groupArray(number) FROM numbers(100000000) WHERE {x:UInt8} = 1", one("x"), 503, codeTooBig)
	a.fails(a.query.newJob(authtest.Tenant(t, "demo"), "wrong", long), "SELECT nothing FROM events WHERE {x:UInt8} = 1", one("x"), 500, httpapi.CodeInternal)
	a.fails(a.query.newJob(authtest.Tenant(t, "demo"), "no table", long), "SELECT 1 FROM no_table WHERE {x:UInt8} = 1", one("x"), 503, httpapi.CodeUnavailable)
	gone := a.query.newJob(authtest.Tenant(t, "demo"), "gone", long)
	time.AfterFunc(short, func() { gone.cancel(errGone) })
	a.fails(gone, endless, one("x"), 408, codeGone)
}

// TestStatementEndsInTheServer wants a statement that was given up to leave the server, too.
func TestStatementEndsInTheServer(t *testing.T) {
	a := newAPI(t)
	j := a.query.newJob(authtest.Tenant(t, "demo"), t.Name(), 30*time.Second)
	defer j.end()
	failed := make(chan error, 1)
	go func() { failed <- j.each("endless", endless, one("x"), discard) }()
	a.eventually("the statement runs", func() bool { return a.running(t.Name()) == 1 })
	j.cancel(errGone)
	if err := <-failed; err == nil {
		t.Error("got no error from a statement that was given up")
	}
	a.eventually("the statement is gone", func() bool { return a.running(t.Name()) == 0 })
}

// TestStatementEndsWithItsClient wants the same when the client hangs up while it waits.
func TestStatementEndsWithItsClient(t *testing.T) {
	a := newAPI(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req := a.request("demo", http.MethodGet, "/api/endless", "").WithContext(ctx)
	req.Header.Set("X-Request-Id", t.Name())
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		left <- err
	}()
	a.eventually("the statement runs", func() bool { return a.running(t.Name()) == 1 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v from a request that was given up", err)
	}
	a.eventually("the statement is gone", func() bool { return a.running(t.Name()) == 0 })
}

// running counts the statements of a request that the server works on.
func (a *api) running(request string) (n uint64) {
	a.t.Helper()
	sql := fmt.Sprintf(`SELECT count() FROM system.processes WHERE startsWith(query_id, '%s.')
		AND Settings['log_comment'] = 'tenant=demo request=%s' AND Settings['max_execution_time'] != ''`, request, request)
	if err := a.db.QueryRow(a.t.Context(), sql).Scan(&n); err != nil {
		a.t.Fatal(err)
	}
	return n
}

// eventually waits for a condition.
func (a *api) eventually(what string, condition func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("not so after 20 s: %s", what)
		}
	}
}
