package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"keypulse/schema"
)

// ReadConfig says what [Read] measures. Start from [DefaultReadConfig].
type ReadConfig struct {
	URL      string        // see Config
	APIKey   string        // of the tenant that was loaded, scope read, without a rate limit
	Tenant   schema.Tenant // the same; default bench
	Keys     int           // how many keys were loaded; default 100,000
	Requests int           // for each question; default 200
	Raw      int           // how often the answers of the rollups are made from events as well; default 0
	Only     string        // questions whose name has this in it; default all
	Seed     uint64        // which keys are asked for; default 1
}

// DefaultReadConfig returns the defaults: all but the APIKey.
func DefaultReadConfig() ReadConfig {
	return ReadConfig{URL: DefaultConfig().URL, Tenant: "bench", Keys: 100_000, Requests: 200, Seed: 1}
}

// Flags declares a flag for every field; what c holds are the defaults.
func (c *ReadConfig) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.URL, "url", c.URL, "root `URL` of the instance")
	fs.Func("api-key", "API `key` of the tenant that was loaded (scope read, no rate limit)", func(s string) error {
		c.APIKey = s
		return nil
	})
	fs.Func("tenant", "the `company` of the key (default bench)", func(s string) error {
		c.Tenant = schema.Tenant(s)
		return nil
	})
	fs.IntVar(&c.Keys, "keys", c.Keys, "how many keys were loaded")
	fs.IntVar(&c.Requests, "requests", c.Requests, "requests of each question")
	fs.IntVar(&c.Raw, "raw", c.Raw, "how often the answers of rollups are made from the events, too")
	fs.StringVar(&c.Only, "only", c.Only, "ask only questions with this in their name")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "which keys are asked for")
}

// ReadResult is a question over HTTP beside the same statement sent straight to ClickHouse.
type ReadResult struct {
	Name     string   `json:"name"`
	REST     Latency  `json:"rest"`
	Straight Latency  `json:"straight"`
	Raw      *Latency `json:"raw"` // the same answer made from the events; null where there is none
	Rows     float64  `json:"rows"`
}

// reader asks one question after the other.
type reader struct {
	cfg    ReadConfig
	client *client
	db     driver.Conn
	random random
	since  schema.Millis // a week before the newest event
	deep   string        // a cursor a thousand pages of 50 down the list
	deepAt cursorPlace
}

type cursorPlace struct {
	at string
	id uint64
}

// Read asks the API and, in turns, ClickHouse itself, one request at a time.
func Read(ctx context.Context, db driver.Conn, cfg ReadConfig) ([]ReadResult, error) {
	base := DefaultConfig()
	base.URL, base.APIKey, base.Connections, base.Timeout = cfg.URL, cfg.APIKey, 1, time.Minute
	if err := base.Validate(); err != nil {
		return nil, err
	}
	root, err := base.parseURL()
	if err != nil {
		return nil, invalid("URL", err)
	}
	r := &reader{cfg: cfg, client: newClient(&base, root), db: db, random: newRandom(cfg.Seed, phaseMeasured, 0)}
	defer r.client.host.CloseIdleConnections()
	if err := r.lookAround(ctx); err != nil {
		return nil, fmt.Errorf("read bench: %w", err)
	}
	var all []ReadResult
	for _, q := range r.questions() {
		if !strings.Contains(q.name, cfg.Only) {
			continue
		}
		result, err := r.measure(ctx, q)
		if err != nil {
			return all, fmt.Errorf("ask %s: %w", q.name, err)
		}
		all = append(all, result)
	}
	return all, nil
}

// eventPage is a page of events as far as lookAround reads it.
type eventPage struct {
	Events []struct {
		ID        uint64 `json:"id"`
		CreatedAt string `json:"created_at"`
	} `json:"events"`
	NextCursor string `json:"next_cursor"`
}

// lookAround finds the newest event, and walks a thousand pages down.
func (r *reader) lookAround(ctx context.Context) error {
	for range 100 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		path := "/api/events?limit=500"
		if r.deep != "" {
			path += "&cursor=" + r.deep
		}
		body, err := r.get(path)
		if err != nil {
			return err
		}
		var page eventPage
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("GET %s: %w", path, err)
		}
		if len(page.Events) == 0 {
			return fmt.Errorf("GET %s: the tenant has too few events: load it with keypulse bench load", path)
		}
		if r.since == 0 {
			newest, err := time.Parse(time.RFC3339, page.Events[0].CreatedAt)
			if err != nil {
				return fmt.Errorf("GET %s: %w", path, err)
			}
			r.since = schema.MillisOf(newest.AddDate(0, 0, -7))
		}
		last := page.Events[len(page.Events)-1]
		r.deep, r.deepAt = page.NextCursor, cursorPlace{strings.NewReplacer("T", " ", "Z", "").Replace(last.CreatedAt), last.ID}
	}
	return nil
}

func (r *reader) get(path string) ([]byte, error) {
	call := r.client.newCall(fasthttp.MethodGet, path)
	defer call.close()
	status, body, err := call.do(nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if status != fasthttp.StatusOK {
		return nil, fmt.Errorf("GET %s: %d %.300s", path, status, body)
	}
	return slices.Clone(body), nil
}

// measure asks a question by both ways in turns, the one that goes first in turns, too.
func (r *reader) measure(ctx context.Context, q question) (ReadResult, error) {
	const warmUp = 5
	result := ReadResult{Name: q.name}
	rest, straight := newHistogram(), newHistogram()
	rows := 0
	for i := range warmUp + r.cfg.Requests {
		path, sql := q.ask(r)
		byREST := func() error {
			began := time.Now()
			_, err := r.get(path)
			record(rest, i >= warmUp, began)
			return err
		}
		bySQL := func() error {
			began := time.Now()
			n, err := r.run(ctx, sql)
			record(straight, i >= warmUp, began)
			rows += n
			return err
		}
		turns := [2]func() error{byREST, bySQL}
		for j := range turns {
			if err := turns[(i+j)%2](); err != nil {
				return result, err
			}
		}
	}
	result.REST, result.Straight = latencyOf(rest), latencyOf(straight)
	result.Rows = float64(rows) / float64(warmUp+r.cfg.Requests)
	if q.raw == "" || r.cfg.Raw == 0 {
		return result, nil
	}
	raw := newHistogram()
	for range r.cfg.Raw {
		began := time.Now()
		if _, err := r.run(ctx, q.raw); err != nil {
			return result, err
		}
		record(raw, true, began)
	}
	l := latencyOf(raw)
	result.Raw = &l
	return result, nil
}

// run sends a statement to ClickHouse and reads every row of its answer into Go values.
func (r *reader) run(ctx context.Context, sql string) (rows int, err error) {
	answer, err := r.db.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	var values []any
	for _, t := range answer.ColumnTypes() {
		values = append(values, newValue(t))
	}
	for answer.Next() {
		if err := answer.Scan(values...); err != nil {
			return rows, err
		}
		rows++
	}
	return rows, answer.Err()
}

// record counts the time since began, once the warm-up is over.
func record(h *hdrhistogram.Histogram, counts bool, began time.Time) {
	if counts {
		observe(h, time.Since(began))
	}
}
