package sink_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
	"keypulse/schema"
	"keypulse/sink"
)

const partitions = 3

// The environment of a process that a test starts as a sink of its own, to be killed.
const (
	childBroker = "KEYPULSE_TEST_SINK_BROKER"
	childDSN    = "KEYPULSE_TEST_SINK_DSN"
	childBytes  = "KEYPULSE_TEST_SINK_BYTES" // BatchBytes
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childBroker); addr != "" {
		fmt.Fprintln(os.Stderr, runChild(addr, os.Getenv(childDSN)))
		os.Exit(1)
	}
	enginetest.Main(m)
}

func runChild(addr, dsn string) error {
	ctx := context.Background()
	c, log, err := brokertest.Connect(ctx, addr, partitions)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	cfg := config(c, log, db)
	if bytes := os.Getenv(childBytes); bytes != "" {
		if cfg.BatchBytes, err = strconv.Atoi(bytes); err != nil {
			return err
		}
	}
	return sink.New(cfg).Run(ctx)
}

// startChild runs a sink in a process of its own, until the test ends at the latest.
func startChild(t *testing.T, addr, dsn string, env ...string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), childBroker+"="+addr, childDSN+"="+dsn), env...)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() }) // also when it is stopped and the test has failed
	return child
}

func newSink(c *broker.Client, log schema.LogRecord, db driver.Conn) *sink.Sink {
	return sink.New(config(c, log, db))
}

// config is a sink's, with short waits.
func config(c *broker.Client, log schema.LogRecord, db driver.Conn) sink.Config {
	return sink.Config{Client: c, Incarnation: log, DB: db, BatchWait: 20 * time.Millisecond, Log: testLog(), Metrics: prometheus.NewRegistry()}
}

// soak is how many times as much a test does when it is asked for its full count.
func soak(small, full int) int {
	if os.Getenv("KEYPULSE_SOAK") != "" {
		return full
	}
	return small
}

// feed writes events and their verdicts, as ingest and the processor would, and counts them.
type feed struct {
	t        testing.TB
	client   *broker.Client
	lost     int64
	age      time.Duration // of the events' times
	hold     bool          // verdicts wait for judge
	held     [partitions][]broker.Record
	keys     int // of each partition
	random   *rand.Rand
	counting *rand.Rand // what rules count
	log      schema.LogRecord
	events   []*broker.Append
	verdicts []*broker.Append
	next     [partitions]int64
	logTime  [partitions]schema.Millis
	alerts   int
	hits     int
	dups     int
	pointed  [partitions]uint64 // events to which rules gave points
	points   [partitions]uint64
	counts   [partitions]map[string]*schema.RuleCounts // by rule
	actions  *broker.Append
	acted    int // actions on alerts
}

func newFeed(t testing.TB, c *broker.Client, log schema.LogRecord) *feed {
	f := &feed{t: t, client: c, random: rand.New(rand.NewPCG(1, 1)), counting: rand.New(rand.NewPCG(2, 2)), log: log, keys: 5}
	f.actions = broker.NewAppend(c, schema.TopicAlertActions, 0, broker.DefaultProducerConfig())
	for p := range int32(partitions) {
		f.events = append(f.events, broker.NewAppend(c, schema.TopicEvents, p, broker.DefaultProducerConfig()))
		f.verdicts = append(f.verdicts, broker.NewAppend(c, schema.TopicVerdicts, p, broker.DefaultProducerConfig()))
		f.counts[p] = map[string]*schema.RuleCounts{}
	}
	return f
}

// chunk writes some events of one partition and the verdict on them.
func (f *feed) chunk() {
	f.t.Helper()
	f.chunkOf(1+f.random.Int64N(20), nil)
	if f.random.IntN(4) == 0 {
		f.act()
	}
}

// chunkOf writes n events with these details and the verdict on them.
func (f *feed) chunkOf(n int64, details []byte) {
	f.t.Helper()
	p := int32(f.random.IntN(partitions))
	v := schema.Verdict{From: f.next[p], To: f.next[p] + n, LogTime: f.logTime[p]}
	var records []broker.Record
	for offset := v.From; offset < v.To; offset++ {
		e := schema.Event{
			Tenant: "demo", KeyID: fmt.Sprint("key-", p, "-", f.random.IntN(f.keys)), Type: "export", Severity: schema.Severity(1 + f.random.IntN(3)), Details: details,
			CreatedAt: schema.MillisOf(time.Now().Add(-f.age)) + schema.Millis(f.random.IntN(2000)) - 1000, EventID: fmt.Sprint(offset),
		}
		f.logTime[p] = max(f.logTime[p], e.CreatedAt)
		records = append(records, broker.Record{Key: schema.RecordKey(e.Tenant, e.KeyID), Value: e.AppendValue(nil), Time: e.CreatedAt})
		if x, ok := f.exception(p, offset, &e); ok {
			v.Exceptions = append(v.Exceptions, x)
		}
	}
	f.countRules(p, &v)
	f.write(p, records, v)
}

// countRules has some rules hold and fail, and the verdict tell of it as the processor's do.
func (f *feed) countRules(p int32, v *schema.Verdict) {
	last := schema.EventID(f.log.Base, v.To-1, p)
	for _, n := range f.counting.Perm(5)[:f.counting.IntN(4)] { // a verdict names a rule once
		rule := fmt.Sprint("rule-", n)
		c := f.counts[p][rule]
		if c == nil {
			c = &schema.RuleCounts{Tenant: "demo", RuleID: rule, Version: 1}
			f.counts[p][rule] = c
		}
		switch f.counting.IntN(3) {
		case 0:
			c.Hits += 1 + f.counting.Int64N(3)
		case 1:
			c.Shadow++
		default:
			c.Errors++
			c.LastError = schema.RuleError{EventID: last, At: v.LogTime, Message: fmt.Sprint("failed at ", last)}
		}
		v.Counts = append(v.Counts, *c)
	}
	for _, c := range f.counts[p] {
		v.Counted += c.Sum()
	}
}

// verifyCounts compares rule_counts with what verdicts said last.
func (f *feed) verifyCounts(db driver.Conn) {
	f.t.Helper()
	for p, counts := range f.counts {
		for rule, c := range counts {
			var hits, shadow, failed, id uint64
			var message string
			scan(f.t, db, fmt.Sprintf("SELECT sum(hits), sum(shadow_hits), sum(errors), max(error_event_id), max(error_message) FROM rule_counts FINAL WHERE tenant = 'demo' AND rule_id = '%s' AND kafka_partition = %d", rule, p),
				&hits, &shadow, &failed, &id, &message)
			got := schema.RuleCounts{Tenant: c.Tenant, RuleID: rule, Version: 1, Hits: int64(hits), Shadow: int64(shadow), Errors: int64(failed)}
			got.LastError = schema.RuleError{EventID: int64(id), At: c.LastError.At, Message: message}
			if got != *c {
				f.t.Errorf("partition %d: rule_counts has %+v, want %+v", p, got, *c)
			}
		}
	}
}

func (f *feed) exception(p int32, offset int64, e *schema.Event) (schema.Exception, bool) {
	id, at := schema.EventID(f.log.Base, offset, p), e.CreatedAt
	switch f.random.IntN(10) {
	case 0:
		f.dups++
		return schema.Exception{Offset: offset, DuplicateOf: 1 + id}, true
	case 1:
		f.alerts++
		f.pointed[p]++
		f.points[p] += uint64(90 - e.Severity.BaseScore())
		a := schema.Alert{ID: fmt.Sprint("al_", id), RuleID: "r", RuleVersion: 1, Severity: schema.Critical, EventID: id, RaisedAt: at, Values: []byte(`{}`)}
		return schema.Exception{Offset: offset, Score: 90, Alerts: []schema.Alert{a}}, true
	case 2:
		f.hits++
		return schema.Exception{Offset: offset, Hits: []schema.Hit{{AlertID: "al_hit", RaisedAt: 1000, Hits: int64(f.hits) + 1, At: at}}}, true
	}
	return schema.Exception{}, false
}

func (f *feed) write(p int32, records []broker.Record, v schema.Verdict) {
	f.t.Helper()
	next := v.From
	for some := range slices.Chunk(records, 256) {
		first, err := f.events[p].Records(context.Background(), some...)
		if err != nil || first != next {
			f.t.Fatalf("write events: at %d, want %d: %v", first, next, err)
		}
		next += int64(len(some))
	}
	for range 1 + f.random.IntN(2) { // a second processor may say it again
		f.held[p] = append(f.held[p], broker.Record{Value: v.AppendValue(nil), Time: 1})
	}
	f.next[p] = v.To
	if !f.hold {
		f.judge()
	}
}

// judge writes the verdicts that wait.
func (f *feed) judge() {
	f.t.Helper()
	for p, records := range f.held {
		for _, r := range records {
			if _, err := f.verdicts[p].Records(context.Background(), r); err != nil {
				f.t.Fatalf("write verdict: %v", err)
			}
		}
		f.held[p] = nil
	}
}

func (f *feed) total() (n int64) {
	for _, next := range f.next {
		n += next
	}
	return n
}

// scan reads one row.
func scan(t testing.TB, db driver.Conn, query string, dest ...any) {
	t.Helper()
	if err := db.QueryRow(t.Context(), query).Scan(dest...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// await waits until everything that was fed is in every table: one INSERT fills them one after another, so events may have
// what the others have not yet. A group may wait ten seconds for a member that was killed while it joined, and again for the
// next one; the engine may be away for a moment.
func (f *feed) await(db driver.Conn) {
	f.t.Helper()
	var r *sink.Report
	var err error
	left := int64(math.MaxInt64)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if r, err = f.verifier(db).Verify(context.Background()); err != nil {
			continue
		}
		if r.NotYet == 0 {
			return
		}
		if r.NotYet < left { // it takes as long as it takes, while it goes on
			left, deadline = r.NotYet, time.Now().Add(2*time.Minute)
		}
	}
	f.t.Fatalf("of %d events and %d actions not everything is stored: %+v, %v", f.total(), f.acted, r, err)
}

// verify checks that every event is stored once, in events and in every rollup.
func (f *feed) verify(db driver.Conn) {
	f.t.Helper()
	for p, next := range f.next {
		var rows, distinct, first, last uint64
		scan(f.t, db, fmt.Sprintf("SELECT count(), uniqExact(kafka_offset), min(kafka_offset), max(kafka_offset) FROM events WHERE kafka_partition = %d", p), &rows, &distinct, &first, &last)
		if rows != uint64(next) || distinct != rows || first != 0 || rows > 0 && last != rows-1 {
			f.t.Errorf("partition %d: %d rows, %d offsets from %d to %d, want %d", p, rows, distinct, first, last, next)
		}
		for _, rollup := range []string{"keys", "activity_by_minute", "totals"} {
			var n uint64
			scan(f.t, db, fmt.Sprintf("SELECT sum(n_all) FROM %s WHERE kafka_partition = %d", rollup, p), &n)
			if n != rows {
				f.t.Errorf("partition %d: %s counts %d of %d rows", p, rollup, n, rows)
			}
		}
		f.verifyPoints(db, p)
	}
	var n, alerts, hits uint64
	scan(f.t, db, "SELECT sum(n) FROM totals", &n)
	scan(f.t, db, "SELECT uniqExact(id), maxIf(hits, id = 'al_hit') FROM alerts", &alerts, &hits)
	if want := uint64(f.total()) - uint64(f.dups); n != want {
		f.t.Errorf("%d events counted, want %d", n, want)
	}
	if f.hits > 0 {
		f.alerts++
		defer func() { f.alerts-- }()
		if hits != uint64(f.hits)+1 {
			f.t.Errorf("%d hits, want %d", hits, f.hits+1)
		}
	}
	if alerts != uint64(f.alerts) {
		f.t.Errorf("%d alerts, want %d", alerts, f.alerts)
	}
	f.verifyCounts(db)
	f.verifyActions(db)
	f.verifyProofs(db)
	var falls uint64
	scan(f.t, db, `SELECT countIf(log_time < before) FROM (SELECT log_time, lagInFrame(log_time) OVER (PARTITION BY kafka_partition ORDER BY kafka_offset) AS before FROM events)`, &falls)
	if falls != 0 {
		f.t.Errorf("log_time falls %d times", falls)
	}
}

// verifyPoints checks key_points against what was fed, and its weights against the events themselves.
func (f *feed) verifyPoints(db driver.Conn, p int) {
	f.t.Helper()
	var n, points uint64
	var weighted, want float64
	scan(f.t, db, fmt.Sprintf("SELECT sum(n), sum(points), sum(weighted) FROM key_points WHERE kafka_partition = %d", p), &n, &points, &weighted)
	scan(f.t, db, fmt.Sprintf(`SELECT sum((90 - multiIf(severity = 'critical', 30, severity = 'warning', 10, 0))
		* pow(2, dateDiff('millisecond', toStartOfDay(created_at), created_at) / 86400000.))
		FROM events WHERE kafka_partition = %d AND score = 90`, p), &want)
	if n != f.pointed[p] || points != f.points[p] || math.Abs(weighted-want) > want*1e-9 {
		f.t.Errorf("partition %d: %d events have %d points, weighted %v; want %d, %d, %v", p, n, points, weighted, f.pointed[p], f.points[p], want)
	}
}

func setUp(t *testing.T) (f *feed, addr, dsn string, db driver.Conn, c *broker.Client) {
	t.Helper()
	addr, dsn = brokertest.StartBroker(t), enginetest.Migrated(t)
	c, log := brokertest.Open(t, addr, partitions)
	return newFeed(t, c, log), addr, dsn, openDB(t, dsn), c
}

func openDB(t testing.TB, dsn string) driver.Conn {
	t.Helper()
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// start runs a sink until stop is called.
func start(t *testing.T, s *sink.Sink) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestStoresEachEventOnce(t *testing.T) {
	f, _, _, db, c := setUp(t)
	for _, chunks := range []int{100, 20} {
		stop := start(t, newSink(c, f.log, db))
		for range chunks {
			f.chunk()
		}
		f.await(db)
		stop()
		f.verify(db)
	}
}

func TestStopsAndStartsLoseNothing(t *testing.T) {
	f, _, _, db, c := setUp(t)
	for range soak(8, 100) {
		stop := start(t, newSink(c, f.log, db))
		for range f.random.IntN(60) {
			f.chunk()
		}
		stop()
	}
	stop := start(t, newSink(c, f.log, db))
	f.await(db)
	stop()
	f.verify(db)
}

func TestKilledSinksLoseNothingAndDoubleNothing(t *testing.T) {
	f, addr, dsn, db, c := setUp(t)
	for range soak(4, 100) {
		child := startChild(t, addr, dsn)
		target := f.total() + int64(f.random.IntN(3000))
		// Killed when it has stored something of this round, at a moment that nothing chose.
		for stored := int64(-1); stored < target; {
			var n uint64
			scan(t, db, "SELECT count() FROM events", &n)
			stored = int64(n)
			for f.total() < max(target, stored)+2000 {
				f.chunk()
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := child.Wait(); err == nil || child.ProcessState.ExitCode() >= 0 {
			t.Fatalf("the sink ended by itself: %v", err)
		}
	}
	stop := start(t, newSink(c, f.log, db))
	f.await(db)
	stop()
	f.verify(db)
}

// TestClickHouseMayRefuse breaks the tables under a running sink and mends them.
func TestClickHouseMayRefuse(t *testing.T) {
	f, _, _, db, c := setUp(t)
	s := newSink(c, f.log, db)
	stop := start(t, s)
	f.chunk()
	f.await(db)
	exec := func(statement string) {
		t.Helper()
		if err := db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("RENAME TABLE keys TO keys_away")
	for range 30 {
		f.chunk()
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := s.Check(t.Context())
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the sink never said that it cannot store")
		}
		time.Sleep(5 * time.Millisecond)
	}
	exec("RENAME TABLE keys_away TO keys")
	for deadline := time.Now().Add(time.Minute); s.Check(t.Context()) != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("after it was mended: %v", s.Check(t.Context()))
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.await(db)
	stop()
	f.verify(db)
}

// testLog shows the sinks' warnings.
func testLog() *zap.Logger {
	cfg := zap.NewDevelopmentConfig()
	cfg.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	return zap.Must(cfg.Build())
}
