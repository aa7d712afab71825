package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// The statistics are the same on every node and never fall, because the nodes show one table and nothing of their own. When its
// newest line is a second old, whoever asks adds a line of what the rollups say now; what is shown of each number is the largest
// of all lines. So it does not matter which of two nodes adds its line first, or whether both do. A request's answer was read
// from the table after the request came, so who has seen a number on one node sees no smaller one on another.

// stats is the answer of GET /api/stats: exactly these members.
type stats struct {
	TotalKeys   uint64 `json:"total_keys"`
	TotalEvents uint64 `json:"total_events"`
	// Events24h counts by whole minutes: the minute that is 24 hours ago is out, the running one is in. It alone may fall,
	// with time; it is the newest line's.
	Events24h         uint64    `json:"events_24h"`
	SeverityBreakdown breakdown `json:"severity_breakdown"`
}

type breakdown struct {
	Nominal  uint64 `json:"nominal"`
	Warning  uint64 `json:"warning"`
	Critical uint64 `json:"critical"`
}

const selectStats = `SELECT max(total_keys), max(nominal), max(warning), max(critical), argMaxMerge(day), toUnixTimestamp64Milli(max(at)) FROM stats`

// addStats reads rollups only, whatever the number of events.
const addStats = `INSERT INTO stats (total_keys, nominal, warning, critical, day, at)
SELECT total_keys, nominal, warning, critical, initializeAggregation('argMaxState', day, at), at
FROM (
    SELECT
        sumIf(n, severity = 'nominal') AS nominal,
        sumIf(n, severity = 'warning') AS warning,
        sumIf(n, severity = 'critical') AS critical,
        ifNull((SELECT uniqExact(tenant, key_id) FROM keys WHERE n > 0), 0) AS total_keys,
        ifNull((SELECT sum(n) FROM activity_by_minute WHERE minute > {day_ago:DateTime('UTC')}), 0) AS day,
        {at:DateTime64(3, 'UTC')} AS at
    FROM totals
)`

// showStats is GET /api/stats.
func (q *Query) showStats(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	request := httpapi.RequestID(c)
	body, err := q.stats.fly(func() ([]byte, error) { return q.readStats(request) })
	if err != nil {
		return err
	}
	return httpapi.Raw(c, fiber.StatusOK, body)
}

// readStats makes the answer. Its job watches no client: many may wait for it.
func (q *Query) readStats(request string) ([]byte, error) {
	now := q.cfg.Now()
	j := q.newJob(auth.Tenant{}, request, q.cfg.StatementTimeout)
	defer j.end()
	s, at, err := j.selectStats()
	if err == nil && now.Sub(at) >= q.cfg.StatsAge {
		w := &where{}
		w.bind("day_ago", sqlMinute(now.Add(-24*time.Hour)))
		w.bindTime("at", schema.MillisOf(now))
		if err = j.exec("addStats", addStats, w.args); err == nil {
			s, _, err = j.selectStats()
		}
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode stats: %w", err)
	}
	return body, nil
}

// selectStats reads the table, and of when its newest line is.
func (j *job) selectStats() (s stats, at time.Time, err error) {
	err = j.eachWith("stats", selectStats, nil, clickhouse.Settings{"max_threads": 1}, func(rows driver.Rows) error {
		var ms int64
		b := &s.SeverityBreakdown
		err := rows.Scan(&s.TotalKeys, &b.Nominal, &b.Warning, &b.Critical, &s.Events24h, &ms)
		s.TotalEvents = b.Nominal + b.Warning + b.Critical
		at = time.UnixMilli(ms)
		return err
	})
	return s, at, err
}

// flights carries many requests by few statements. A request joins the flight that has not left yet, so that what it is answered
// was read after it came; while one is under way, all that come wait for the next one together.
type flights struct {
	mu sync.Mutex // guards the following
	// away left last, next has not left yet.
	away, next *flight
}

type flight struct {
	landed chan struct{} // closed after the following have been set
	body   []byte
	err    error
}

// fly returns what a flight that leaves later brings.
func (s *flights) fly(read func() ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	f, before := s.next, s.away
	mine := f == nil
	if mine {
		f = &flight{landed: make(chan struct{})}
		s.next = f
	}
	s.mu.Unlock()
	if mine {
		if before != nil {
			<-before.landed
		}
		s.mu.Lock()
		s.away, s.next = f, nil
		s.mu.Unlock()
		f.leave(read)
	}
	<-f.landed
	return f.body, f.err
}

// errLost is what the others are told when read has panicked.
var errLost = errors.New("the statistics were not read")

func (f *flight) leave(read func() ([]byte, error)) {
	defer close(f.landed)
	f.err = errLost
	f.body, f.err = read()
}
