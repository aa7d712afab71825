package query

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/sync/singleflight"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
)

// stats is the answer of GET /api/stats: exactly these members.
type stats struct {
	TotalKeys   uint64 `json:"total_keys"`
	TotalEvents uint64 `json:"total_events"`
	// Events24h counts by whole minutes: the minute that is 24 hours ago is out, the running one is in.
	Events24h         uint64    `json:"events_24h"`
	SeverityBreakdown breakdown `json:"severity_breakdown"`
}

type breakdown struct {
	Nominal  uint64 `json:"nominal"`
	Warning  uint64 `json:"warning"`
	Critical uint64 `json:"critical"`
}

// selectStats reads rollups only, whatever the number of events.
const selectStats = `SELECT
    sumIf(n, severity = 'nominal'),
    sumIf(n, severity = 'warning'),
    sumIf(n, severity = 'critical'),
    ifNull((SELECT count() FROM (SELECT tenant, key_id FROM keys WHERE n > 0 GROUP BY tenant, key_id)), 0),
    ifNull((SELECT sum(n) FROM activity_by_minute WHERE minute > {day_ago:DateTime('UTC')}), 0)
FROM totals`

// statsCache holds the last answer. Whoever asks while it is being renewed waits for that one statement.
type statsCache struct {
	flight singleflight.Group

	mu sync.Mutex // guards the following
	// last is the largest that was seen of every total: a server that is being rebuilt from the log knows less for a
	// while, and users have seen more already.
	last stats
	body []byte    // last as JSON; nil before the first answer
	at   time.Time // when body was asked for
}

// showStats is GET /api/stats.
func (q *Query) showStats(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	if body := q.stats.fresh(q.cfg.Now(), q.cfg.StatsAge); body != nil {
		return httpapi.Raw(c, fiber.StatusOK, body)
	}
	request := httpapi.RequestID(c)
	body, err, _ := q.stats.flight.Do("", func() (any, error) { return q.renewStats(request) })
	if err != nil {
		return err
	}
	return httpapi.Raw(c, fiber.StatusOK, body.([]byte))
}

// fresh returns the last answer if it is not older than age, else nil. The bytes never change.
func (s *statsCache) fresh(now time.Time, age time.Duration) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil || now.Sub(s.at) >= age {
		return nil
	}
	return s.body
}

// renewStats asks the database. Its job watches no client: many may wait for it.
func (q *Query) renewStats(request string) ([]byte, error) {
	now := q.cfg.Now()
	if body := q.stats.fresh(now, q.cfg.StatsAge); body != nil {
		return body, nil // another flight has landed since the caller looked
	}
	j := q.newJob(auth.Tenant{}, request, q.cfg.StatementTimeout)
	defer j.end()
	var s stats
	args := []any{clickhouse.Named("day_ago", sqlMinute(now.Add(-24*time.Hour)))}
	err := j.each("stats", selectStats, args, func(rows driver.Rows) error {
		b := &s.SeverityBreakdown
		return rows.Scan(&b.Nominal, &b.Warning, &b.Critical, &s.TotalKeys, &s.Events24h)
	})
	if err != nil {
		return nil, err
	}
	return q.stats.put(s, now)
}

// put takes a newer answer in and returns it as JSON.
func (s *statsCache) put(next stats, at time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, now := s.last.SeverityBreakdown, &next.SeverityBreakdown
	now.Nominal = max(now.Nominal, before.Nominal)
	now.Warning = max(now.Warning, before.Warning)
	now.Critical = max(now.Critical, before.Critical)
	next.TotalEvents = now.Nominal + now.Warning + now.Critical
	next.TotalKeys = max(next.TotalKeys, s.last.TotalKeys)
	body, err := json.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("encode stats: %w", err)
	}
	s.last, s.body, s.at = next, body, at
	return body, nil
}
