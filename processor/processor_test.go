package processor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/processor"
	"keypulse/rules"
	"keypulse/rules/rulestest"
	"keypulse/schema"
)

const partitions = 3

// childBroker makes the test binary a processor of its own, to be killed.
const childBroker = "KEYPULSE_TEST_PROCESSOR_BROKER"

func TestMain(m *testing.M) {
	rulestest.Break("broken", func(e *schema.Event) bool { return e.Severity == schema.Critical })
	if addr := os.Getenv(childBroker); addr != "" {
		fmt.Fprintln(os.Stderr, runChild(addr))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runChild(addr string) error {
	ctx := context.Background()
	c, log, err := brokertest.Connect(ctx, addr, partitions)
	if err != nil {
		return err
	}
	return runProcessor(ctx, c, log, nil)
}

// runProcessor judges until ctx is done, and follows the rules from when slow, if it is not nil, is closed.
func runProcessor(ctx context.Context, c *broker.Client, log schema.LogRecord, slow <-chan struct{}) error {
	book := rules.NewBook()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		if slow != nil {
			<-slow
		}
		_ = broker.NewFollower(c, schema.TopicRules, func(r broker.Record) { _ = book.Apply(r.Offset, r.Key, r.Value) }).Run(ctx)
	})
	return processor.New(processor.Config{
		Client: c, Incarnation: log, Book: book, Producer: broker.DefaultProducerConfig(), CheckpointEvery: 10 * time.Millisecond,
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	}).Run(ctx)
}

// start runs a processor until stop is called.
func start(t testing.TB, c *broker.Client, log schema.LogRecord) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runProcessor(ctx, c, log, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// soak is how many times as much a test does when it is asked for its full count.
func soak(small, full int) int {
	if os.Getenv("KEYPULSE_SOAK") != "" {
		return full
	}
	return small
}

// history is a log written beforehand: the same for the same seed.
type history struct {
	t      testing.TB
	random *rand.Rand
	c      *broker.Client
	events []*broker.Append
	rules  *broker.Append
	rev    int64
	now    schema.Millis
	ends   [partitions]int64
	wrote  [partitions][]wrote
	count  atomic.Int64 // of events
	mark   int64        // write calls marked once when so many events are there
	marked func()
}

// wrote is what an event lets rules do: hit the rule in shadow mode, and break the one that is broken.
type wrote struct{ export, critical bool }

func newHistory(t testing.TB, c *broker.Client) *history {
	h := &history{t: t, random: rand.New(rand.NewPCG(7, 7)), c: c, now: 1_775_392_440_000}
	for p := range int32(partitions) {
		h.events = append(h.events, broker.NewAppend(c, schema.TopicEvents, p, broker.DefaultProducerConfig()))
	}
	h.rules = broker.NewAppend(c, schema.TopicRules, 0, broker.DefaultProducerConfig())
	return h
}

// rule writes a version of a rule. With burst come two others: one in shadow mode, and one that fails for critical events and
// never holds.
func (h *history) rule(id, when string, version int64, dedup time.Duration) {
	h.t.Helper()
	h.ruleIn(rules.Live, id, when, version, dedup)
	if id == "burst" {
		h.ruleIn(rules.Shadow, "quiet", `event_type == "export"`, version, 0)
		h.ruleIn(rules.Live, "broken", `count("10s") < 0`, version, 0)
	}
}

func (h *history) ruleIn(mode rules.Mode, id, when string, version int64, dedup time.Duration) {
	h.t.Helper()
	text := fmt.Sprintf(`{"id":%q,"name":"rule %s","when":%q,"severity":"critical","score":%d,"dedup":%q,"mode":%q,"message":"{{key_id}} {{count(\"1m\")}}"}`,
		id, id, when, 10*version, dedup, mode)
	value, err := json.Marshal(schema.RuleRecord{Tenant: "demo", ID: id, Version: version, Rule: json.RawMessage(text), By: "test", At: h.now})
	if err != nil {
		h.t.Fatal(err)
	}
	offset, err := h.rules.Records(context.Background(), broker.Record{Key: schema.RecordKey("demo", id), Value: value, Time: h.now})
	if err != nil {
		h.t.Fatal(err)
	}
	h.rev = offset + 1
}

// write writes n events, some with a clock that lags.
func (h *history) write(n int) {
	h.t.Helper()
	for n > 0 {
		p := int32(h.random.IntN(partitions))
		batch := make([]broker.Record, min(n, 1+h.random.IntN(40)))
		for i := range batch {
			h.now += schema.Millis(h.random.IntN(200))
			e := schema.Event{
				Tenant: "demo", KeyID: fmt.Sprint("key-", p, "-", h.random.IntN(7)), Type: []string{"export", "signing_request"}[h.random.IntN(2)],
				Severity: schema.Severity(1 + h.random.IntN(3)), RulesRev: h.rev, CreatedAt: h.now - schema.Millis(h.random.IntN(3000)),
				EventID: fmt.Sprint("id-", h.random.IntN(100)), OwnID: h.random.IntN(10) == 0,
			}
			h.wrote[p] = append(h.wrote[p], wrote{export: e.Type == "export", critical: e.Severity == schema.Critical})
			batch[i] = broker.Record{Key: schema.RecordKey(e.Tenant, e.KeyID), Value: e.AppendValue(nil), Time: e.CreatedAt}
		}
		if _, err := h.events[p].Records(context.Background(), batch...); err != nil {
			h.t.Fatal(err)
		}
		h.ends[p] += int64(len(batch))
		n -= len(batch)
		if h.count.Add(int64(len(batch))) >= h.mark && h.marked != nil {
			h.marked()
			h.marked = nil
		}
	}
}

// writeAll is the whole history: rules come, change and go in the middle of the events.
func (h *history) writeAll(events int) {
	h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
	h.write(events / 3)
	h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
	h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
	h.write(events / 6)
	h.write(events/3 - events/6)
	h.rule("busy", `count("30s") > 30`, 2, time.Minute)
	h.write(events - 2*(events/3))
}

// writeIn writes the same kind of history in segments, and calls before ahead of each, and amid in its middle.
func (h *history) writeIn(segments, events int, before, amid func()) {
	h.t.Helper()
	for i := range segments {
		switch i {
		case 0:
			h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
		case segments / 3:
			h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
			h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
		case 2 * segments / 3:
			h.rule("busy", `count("30s") > 30`, 2, time.Minute)
		}
		n := events / segments
		before()
		h.write(n / 2)
		amid()
		h.write(n - n/2)
	}
}

// judged is how many events have their verdict.
func (h *history) judged() (n int64) {
	h.t.Helper()
	for p := range int32(partitions) {
		last, found, err := h.c.ReadLast(context.Background(), schema.TopicVerdicts, p)
		if err != nil {
			h.t.Fatal(err)
		}
		if !found {
			continue
		}
		v, err := schema.DecodeVerdict(last.Value)
		if err != nil {
			h.t.Fatal(err)
		}
		n += v.To
	}
	return n
}

// found is what the verdicts of a partition say: the exceptions, and the last counts of each version of each rule.
type found struct {
	exceptions []schema.Exception
	counts     map[ruleVersion]schema.RuleCounts
}

type ruleVersion struct {
	rule    string
	version int64
}

// sum adds up the counts of all versions of a rule.
func (f found) sum(rule string) (sum schema.RuleCounts) {
	for _, c := range f.counts {
		if c.RuleID == rule {
			sum.Hits, sum.Shadow, sum.Errors = sum.Hits+c.Hits, sum.Shadow+c.Shadow, sum.Errors+c.Errors
		}
	}
	return sum
}

// total adds up the counts of all rules.
func (f found) total() (n int64) {
	for _, c := range f.counts {
		n += c.Hits + c.Shadow + c.Errors
	}
	return n
}

// verdicts waits until a partition is judged and returns what was found. Chunk borders are nobody's business, but every
// offset must be judged once, and the counts told so far must be all.
func (h *history) verdicts(p int32) found {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	all := found{counts: map[ruleVersion]schema.RuleCounts{}}
	next := int64(0)
	for r := h.c.NewReader(schema.TopicVerdicts, p, 0); next < h.ends[p]; {
		records, err := r.Fetch(ctx)
		if err != nil {
			h.t.Fatalf("partition %d is judged to %d of %d: %v", p, next, h.ends[p], err)
		}
		for _, record := range records {
			v, err := schema.DecodeVerdict(record.Value)
			if err != nil {
				h.t.Fatal(err)
			}
			if v.From > next {
				h.t.Fatalf("partition %d: a verdict from %d follows one to %d", p, v.From, next)
			}
			for _, x := range v.Exceptions {
				if x.Offset >= next {
					all.exceptions = append(all.exceptions, x)
				} else if !contains(all.exceptions, x) {
					h.t.Errorf("partition %d offset %d: judged again, otherwise: %+v", p, x.Offset, x)
				}
			}
			if v.To <= next {
				continue
			}
			for _, c := range v.Counts {
				all.counts[ruleVersion{c.RuleID, c.Version}] = c
			}
			if v.Counted != all.total() {
				h.t.Errorf("partition %d: up to offset %d the counts add up to %d, the verdict says %d", p, v.To, all.total(), v.Counted)
			}
			next = v.To
		}
	}
	return all
}

// recount compares the counts with what the events and the exceptions say.
func (h *history) recount(p int32, f found) {
	h.t.Helper()
	duplicate, hits, ruleOf := map[int64]bool{}, map[string]int64{}, map[string]string{}
	for _, x := range f.exceptions {
		duplicate[x.Offset] = x.DuplicateOf != 0
		for _, a := range x.Alerts {
			ruleOf[a.ID] = a.RuleID
			hits[a.RuleID]++
		}
		for _, hit := range x.Hits {
			hits[ruleOf[hit.AlertID]]++
		}
	}
	var exports, critical int64
	for offset, w := range h.wrote[p] {
		if !duplicate[int64(offset)] {
			exports += map[bool]int64{true: 1}[w.export]
			critical += map[bool]int64{true: 1}[w.critical]
		}
	}
	for rule, want := range map[string]schema.RuleCounts{
		"burst": {Hits: hits["burst"]}, "busy": {Hits: hits["busy"]}, "quiet": {Shadow: exports}, "broken": {Errors: critical},
	} {
		if got := f.sum(rule); got != want {
			h.t.Errorf("partition %d: %s has the counts %+v, want %+v", p, rule, got, want)
		}
	}
	for _, c := range f.counts {
		if (c.Errors > 0) != (c.LastError.Message == "when: broken by a test" && c.LastError.EventID > 0 && c.LastError.At > 0) {
			h.t.Errorf("partition %d: the last error of %+v", p, c)
		}
	}
}

func contains(all []schema.Exception, x schema.Exception) bool {
	for i := range all {
		if all[i].Offset == x.Offset {
			return reflect.DeepEqual(all[i], x)
		}
	}
	return false
}

// undisturbed is what one processor finds that nothing happens to.
func undisturbed(t *testing.T, events int) [partitions]found {
	t.Helper()
	return undisturbedBy(t, func(h *history) { h.writeAll(events) })
}

func undisturbedBy(t *testing.T, write func(*history)) [partitions]found {
	t.Helper()
	c, log := brokertest.Start(t, partitions)
	h := newHistory(t, c)
	write(h)
	stop := start(t, c, log)
	defer stop()
	var all [partitions]found
	alerts, hits, duplicates := 0, 0, 0
	for p := range all {
		all[p] = h.verdicts(int32(p))
		h.recount(int32(p), all[p])
		for _, x := range all[p].exceptions {
			alerts += len(x.Alerts)
			hits += len(x.Hits)
			if x.DuplicateOf != 0 {
				duplicates++
			}
		}
	}
	if alerts < 50 || hits < 50 || duplicates < 5 {
		t.Fatalf("the history makes only %d alerts, %d hits and %d duplicates", alerts, hits, duplicates)
	}
	return all
}

func (h *history) compare(want [partitions]found) {
	h.t.Helper()
	for p := range want {
		got := h.verdicts(int32(p))
		if x, y := got.exceptions, want[p].exceptions; !reflect.DeepEqual(x, y) {
			h.t.Errorf("partition %d: %d exceptions, undisturbed %d; first difference: %s", p, len(x), len(y), difference(x, y))
		}
		if !reflect.DeepEqual(got.counts, want[p].counts) {
			h.t.Errorf("partition %d: rules' counts %+v, undisturbed %+v", p, got.counts, want[p].counts)
		}
	}
}

func difference(got, want []schema.Exception) string {
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			return fmt.Sprintf("%+v, undisturbed %+v", got[i], want[i])
		}
	}
	return "one is longer"
}

// TestKilledProcessorsDecideTheSame kills processors with SIGKILL while they judge what is being written: each after it has
// judged some of a segment, at a random event of the segment's second half. A kill counts as one in the middle of the work when
// events were there that the processor had not judged.
func TestKilledProcessorsDecideTheSame(t *testing.T) {
	kills, events := soak(6, 100), soak(12_000, 200_000)
	want := undisturbedBy(t, func(h *history) { h.writeIn(kills, events, func() {}, func() {}) })
	addr := brokertest.StartBroker(t)
	c, log := brokertest.Open(t, addr, partitions)
	h := newHistory(t, c)
	random := rand.New(rand.NewPCG(3, 3))
	var (
		child    *exec.Cmd
		caughtUp int64
		killing  sync.WaitGroup
		there    int64 // events, when the kill came
		inside   int
	)
	bury := func() {
		killing.Wait()
		if h.judged() < there {
			inside++
		}
	}
	h.writeIn(kills, events, func() {
		bury()
		child = exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childBroker+"="+addr)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for p := range int32(partitions) {
			h.verdicts(p) // it owns the partitions and has caught up
		}
		caughtUp = h.judged()
	}, func() {
		for h.judged() == caughtUp {
			time.Sleep(100 * time.Microsecond)
		}
		left := int64(events / kills / 2)
		h.mark = h.count.Load() + left/8 + random.Int64N(left/2)
		delay := time.Duration(random.IntN(1000)) * time.Microsecond // what the processor does just then is anyone's guess
		h.marked = func() {
			killing.Go(func() {
				time.Sleep(delay)
				there = h.count.Load()
				_ = child.Process.Kill()
				if err := child.Wait(); err == nil || child.ProcessState.ExitCode() >= 0 {
					t.Errorf("the processor ended by itself: %v", err)
				}
			})
		}
	})
	bury()
	t.Logf("%d of %d kills came before the processor had judged what there was", inside, kills)
	if inside < kills/2 {
		t.Errorf("only %d of %d kills came before the processor had judged what there was", inside, kills)
	}
	defer start(t, c, log)()
	h.compare(want)
}

// TestPausedProcessorWakesAndDecidesTheSame stops a processor with SIGSTOP until another one has its partitions, and wakes
// it in the middle of the other's work.
func TestPausedProcessorWakesAndDecidesTheSame(t *testing.T) {
	events := soak(6000, 100_000)
	want := undisturbed(t, events)
	addr := brokertest.StartBroker(t)
	c, log := brokertest.Open(t, addr, partitions)
	h := newHistory(t, c)
	random := rand.New(rand.NewPCG(9, 9))
	sleeper := exec.Command(os.Args[0])
	sleeper.Env = append(os.Environ(), childBroker+"="+addr)
	sleeper.Stderr = os.Stderr
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := sleeper.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
	h.write(events / 3)
	for p := range int32(partitions) {
		h.verdicts(p) // the sleeper owns the partitions and has judged them
	}
	h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
	h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
	var writing sync.WaitGroup
	writing.Go(func() { h.write(events / 6) })
	time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond) // anywhere in its work
	signal(syscall.SIGSTOP)
	stop := start(t, c, log)
	defer stop()
	writing.Wait()
	h.write(events/3 - events/6)
	for p := range int32(partitions) {
		h.verdicts(p) // the other one has taken over
	}
	h.rule("busy", `count("30s") > 30`, 2, time.Minute)
	writing.Go(func() { h.write(events - 2*(events/3)) })
	signal(syscall.SIGCONT)
	writing.Wait()
	h.compare(want)
}

// TestMembersComeAndGoAndDecideTheSame has a second processor join and leave while events are written.
func TestMembersComeAndGoAndDecideTheSame(t *testing.T) {
	changes, events := soak(8, 60), soak(6000, 100_000)
	want := undisturbedBy(t, func(h *history) { h.writeIn(changes, events, func() {}, func() {}) })
	addr := brokertest.StartBroker(t)
	c, log := brokertest.Open(t, addr, partitions)
	h := newHistory(t, c)
	defer start(t, c, log)()
	random := rand.New(rand.NewPCG(5, 5))
	leave := func() {}
	visiting := false
	h.writeIn(changes, events, func() {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // members come and go as they like
		if visiting {
			go leave()
		} else {
			leave = start(t, c, log)
		}
		visiting = !visiting
	}, func() {})
	h.compare(want)
	leave()
}

// TestRestoresFromCheckpoints takes away the events that made the state, so that only a checkpoint can bring it back; the
// second time the group's commits are lost, too.
func TestRestoresFromCheckpoints(t *testing.T) {
	events := soak(6000, 100_000)
	want := undisturbed(t, events)
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("commits lost %t", lost), func(t *testing.T) {
			c, log := brokertest.Start(t, partitions)
			h := newHistory(t, c)
			h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
			h.write(events / 3)
			h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
			h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
			h.restart(c, log, lost)
			h.write(events / 6)
			h.write(events/3 - events/6)
			h.restart(c, log, lost)
			h.rule("busy", `count("30s") > 30`, 2, time.Minute)
			h.write(events - 2*(events/3))
			h.restart(c, log, lost)
			h.compare(want)
		})
	}
}

// TestRestoredProcessorWaitsForItsRules restores a processor whose rules come late: it must judge by those that it was
// judging with.
func TestRestoredProcessorWaitsForItsRules(t *testing.T) {
	const events = 3000
	want := undisturbed(t, events)
	c, log := brokertest.Start(t, partitions)
	h := newHistory(t, c)
	h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
	h.write(events / 3)
	h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
	h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
	h.write(events / 6)
	h.restart(c, log, false)
	h.write(events/3 - events/6)
	slow, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- runProcessor(ctx, c, log, slow) }()
	time.Sleep(300 * time.Millisecond) // long enough for a processor that does not wait to judge everything
	h.rule("busy", `count("30s") > 30`, 2, time.Minute)
	h.write(events - 2*(events/3))
	close(slow)
	h.compare(want)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCheckpointsSurviveABadNetwork has the broker refuse what checkpoints ask for, and cuts connections, and then takes the
// events away that a processor without checkpoints would need.
func TestCheckpointsSurviveABadNetwork(t *testing.T) {
	const events = 6000
	want := undisturbed(t, events)
	u := brokertest.StartUnreliable(t, 4)
	c, log := brokertest.Open(t, u.Addr, partitions)
	h := newHistory(t, c)
	stop := start(t, c, log)
	h.rule("burst", `event_type == "export" && count("10s", event_type == "export") > 3`, 1, 15*time.Second)
	u.Answer(brokertest.DeleteRecords, schema.TopicState, brokertest.TopicAuthorizationFailed, 5)
	u.Answer(brokertest.Produce, schema.TopicState, brokertest.NotEnoughReplicasAfterAppend, 5)
	h.write(events / 3)
	h.rule("burst", `event_type == "export" && count("5s", event_type == "export") > 2`, 2, 5*time.Second)
	h.rule("busy", `count("30s") > 20 and severity != "nominal"`, 1, 0)
	u.Spoil(brokertest.Faults{CutRequest: 0.02, CutAnswer: 0.02})
	time.Sleep(300 * time.Millisecond) // cuts, commits and verdicts meet the faults
	u.Calm(t)
	h.write(events / 6)
	for p := range int32(partitions) {
		h.verdicts(p)
	}
	stop()
	h.write(events/3 - events/6)
	h.restart(c, log, false)
	h.rule("busy", `count("30s") > 30`, 2, time.Minute)
	h.write(events - 2*(events/3))
	h.restart(c, log, false)
	h.compare(want)
}

// restart has a processor judge all there is and deletes the events that its commits say it needs no more.
func (h *history) restart(c *broker.Client, log schema.LogRecord, lose bool) {
	h.t.Helper()
	stop := start(h.t, c, log)
	for p := range int32(partitions) {
		h.verdicts(p)
	}
	stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := c.RunGroup(ctx, broker.Group{ID: processor.GroupID, Topic: schema.TopicEvents, Log: zap.NewNop()}, func(ctx context.Context, g *broker.Generation) error {
		defer cancel()
		commits, err := g.Committed(ctx, partitions)
		if err != nil {
			return err
		}
		for _, commit := range commits {
			if commit.Offset != h.ends[commit.Partition] {
				h.t.Errorf("partition %d is saved to %d of %d", commit.Partition, commit.Offset, h.ends[commit.Partition])
			}
			if err := c.DeleteBefore(ctx, schema.TopicEvents, commit.Partition, commit.Offset); err != nil {
				return err
			}
			if lose {
				if err := g.Commit(ctx, []broker.Commit{{Partition: commit.Partition}}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestExpiredEventsArePassedOver deletes events before anyone has read them: judging goes on with what is there, and no old
// alert comes again.
func TestExpiredEventsArePassedOver(t *testing.T) {
	c, log := brokertest.Start(t, partitions)
	h := newHistory(t, c)
	h.rule("busy", `count("30s") > 5`, 1, time.Minute)
	h.write(1000)
	h.restart(c, log, false)
	before := h.ends
	h.write(1000)
	var expired [partitions]int64
	for p := range int32(partitions) {
		expired[p] = (before[p] + h.ends[p]) / 2
		if err := c.DeleteBefore(t.Context(), schema.TopicEvents, p, expired[p]); err != nil {
			t.Fatal(err)
		}
	}
	defer start(t, c, log)()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for p := range int32(partitions) {
		next := int64(0)
		for r := c.NewReader(schema.TopicVerdicts, p, 0); next < h.ends[p]; {
			records, err := r.Fetch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records {
				v, err := schema.DecodeVerdict(record.Value)
				if err != nil {
					t.Fatal(err)
				}
				if v.From != next && (next != before[p] || v.From != expired[p]) {
					t.Errorf("partition %d: a verdict from %d follows one to %d; %d to %d have expired", p, v.From, next, before[p], expired[p]-1)
				}
				next = v.To
			}
		}
	}
}

func TestBacklogOfAStoppedProcessorIsJudged(t *testing.T) {
	want := undisturbed(t, 3000)
	c, log := brokertest.Start(t, partitions)
	h := newHistory(t, c)
	stop := start(t, c, log)
	stop()
	h.writeAll(3000)
	stop = start(t, c, log)
	h.compare(want)
	stop()
	defer start(t, c, log)() // which finds everything judged, and writes nothing
	h.write(100)
	for p := range int32(partitions) {
		h.verdicts(p)
	}
}
