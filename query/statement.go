package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
)

// The values of `code` in this package's failures, beside those of package httpapi.
const (
	codeTooSlow = "query_too_slow"
	codeTooBig  = "query_too_big"
	codeGone    = "client_gone"
)

// retryAfter is what a 503 advises, in seconds: the embedded engine is back within one.
const retryAfter = 1

// The causes for which a job ends before its time.
var (
	errTooSlow = errors.New("the time of the statement is up")
	errGone    = errors.New("the client has left")
)

// job is the work for one request, as far as it may be given up. Its context ends when the client leaves, when its time
// is up, or with end.
type job struct {
	q       *Query
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	watch   *watch
	timeout time.Duration
	tenant  auth.Tenant // nobody for what is public
	request string      // the request's id
	actions actionsView // what people did with alerts, as the statements see it: see seeActions
}

// newJob starts the clock of a job that watches no client.
func (q *Query) newJob(tenant auth.Tenant, request string, timeout time.Duration) *job {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &job{
		q: q, ctx: ctx, cancel: cancel, timeout: timeout, tenant: tenant, request: request,
		timer: time.AfterFunc(timeout, func() { cancel(errTooSlow) }),
	}
}

// begin starts the job of an authenticated request. The caller calls end.
func (q *Query) begin(c *fiber.Ctx, timeout time.Duration) *job {
	j := q.newJob(httpapi.IdentityOf(c).Tenant, httpapi.RequestID(c), timeout)
	j.watch = watchClient(c.Context().Conn(), func() { j.cancel(errGone) })
	return j
}

// leave stops watching the client: from now on a failing write tells that it is gone.
func (j *job) leave() {
	if j.watch != nil {
		j.watch.stop()
	}
}

// end gives up whatever still runs.
func (j *job) end() {
	j.leave()
	j.timer.Stop()
	j.cancel(context.Canceled)
}

// query runs a statement; name says in the server's query log which one it was.
func (j *job) query(name, sql string, args []any, settings clickhouse.Settings) (driver.Rows, error) {
	ctx, err := j.statement(name, settings)
	if err != nil {
		return nil, err
	}
	rows, err := j.q.cfg.DB.Query(ctx, sql, args...)
	if err != nil {
		return nil, j.failure(name, err)
	}
	return rows, nil
}

// exec runs a statement that answers nothing.
func (j *job) exec(name, sql string, args []any) error {
	ctx, err := j.statement(name, nil)
	if err != nil {
		return err
	}
	if err := j.q.cfg.DB.Exec(ctx, sql, args...); err != nil {
		return j.failure(name, err)
	}
	return nil
}

// statement is the context of one: its id, its limits, and whose it is. The deadline is ours and not the context's, because for a
// deadline in the context clickhouse-go overwrites max_execution_time.
func (j *job) statement(name string, settings clickhouse.Settings) (context.Context, error) {
	all := clickhouse.Settings{
		"max_execution_time": int(j.timeout/time.Second) + 1,
		"max_memory_usage":   j.q.cfg.StatementMemory,
		"log_comment":        "tenant=" + j.tenant.String() + " request=" + j.request,
	}
	for setting, value := range settings {
		all[setting] = value
	}
	options := []clickhouse.QueryOption{clickhouse.WithQueryID(j.queryID(name)), clickhouse.WithSettings(all)}
	held, err := j.actions.table()
	switch {
	case err != nil:
		return nil, httpapi.Internal(err)
	case held != nil:
		options = append(options, clickhouse.WithExternalTable(held))
	}
	return clickhouse.Context(j.ctx, options...), nil
}

// queryID is unique also when a client sends the same request id again and again, and to several nodes.
func (j *job) queryID(name string) string {
	return j.request + "." + name + "." + j.q.node + "." + strconv.FormatUint(j.q.statements.Add(1), 36)
}

// each runs a statement and calls scan for every row.
func (j *job) each(name, sql string, args []any, scan func(driver.Rows) error) error {
	return j.eachWith(name, sql, args, nil, scan)
}

// eachWith is each with settings for this statement.
func (j *job) eachWith(name, sql string, args []any, settings clickhouse.Settings, scan func(driver.Rows) error) error {
	rows, err := j.query(name, sql, args, settings)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return httpapi.Internal(fmt.Errorf("scan %s: %w", name, err))
		}
	}
	if err := rows.Err(); err != nil {
		return j.failure(name, err)
	}
	return nil
}

// The server's error codes that are not our fault. The rest is: a statement that the server does not understand.
var (
	busyCodes = []int32{
		202, // TOO_MANY_SIMULTANEOUS_QUERIES
		209, // SOCKET_TIMEOUT
		210, // NETWORK_ERROR
		236, // ABORTED: it shuts down
		394, // QUERY_WAS_CANCELLED
		60,  // UNKNOWN_TABLE: the schema is being made
		81,  // UNKNOWN_DATABASE
		242, // TABLE_IS_READ_ONLY
		516, // AUTHENTICATION_FAILED
		279, // ALL_CONNECTION_TRIES_FAILED
	}
	slowCodes = []int32{159, 160} // TIMEOUT_EXCEEDED, TOO_SLOW
	bigCodes  = []int32{241}      // MEMORY_LIMIT_EXCEEDED
)

// failure says what the client is told of a failed statement. A ClickHouse that cannot be reached is 503, whatever the
// network calls it.
func (j *job) failure(name string, err error) error {
	cause := fmt.Errorf("query %s: %w", name, err)
	var exception *clickhouse.Exception
	switch isException := errors.As(err, &exception); {
	case errors.Is(context.Cause(j.ctx), errGone):
		return &httpapi.Error{Status: fiber.StatusRequestTimeout, Code: codeGone, Message: "The client has left.", Cause: cause}
	case errors.Is(context.Cause(j.ctx), errTooSlow), isException && slices.Contains(slowCodes, exception.Code):
		return unavailable(codeTooSlow, fmt.Sprintf("The answer took longer than %v. Ask for less, e.g. with since and until.", j.timeout), cause)
	case isException && slices.Contains(bigCodes, exception.Code):
		return unavailable(codeTooBig, "The answer needs too much memory. Ask for less, e.g. with since and until.", cause)
	case isException && !slices.Contains(busyCodes, exception.Code):
		return httpapi.Internal(cause)
	}
	return unavailable(httpapi.CodeUnavailable, "The database does not answer. Please try again.", cause)
}

func unavailable(code, message string, cause error) error {
	e := httpapi.Unavailable(code, message, retryAfter)
	e.Cause = cause
	return e
}
