package auth

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"keypulse/schema"
)

// world is some nodes and a log in simulated time. Each node has a clock of its own, hours apart from the others'.
type world struct {
	*testing.T
	r      *rand.Rand
	now    time.Duration
	log    []schema.QuotaRecord
	coming []parcel // written and not in the log yet
	nodes  []*simNode
	delay  time.Duration // the most that a record takes to the log, and from there to a reader
	lossy  bool
	served map[string][]time.Duration // by API key: when requests were allowed
	tally  map[string]int             // refused, by API key
}

type parcel struct {
	at     time.Duration
	record schema.QuotaRecord
	from   *simNode
}

type simNode struct {
	*Share
	clock  time.Time
	read   int
	reads  []time.Duration // when each record of the log reaches the node
	failed time.Duration   // when its last record is given up; 0: it is not
	asks   []*ask
	ids    []string
	dead   bool
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		T: t, r: rand.New(rand.NewPCG(seed, 7)), delay: 10 * time.Millisecond,
		served: map[string][]time.Duration{}, tally: map[string]int{},
	}
}

func (w *world) join() *simNode {
	n := &simNode{Share: NewShare(NewLimiter()), clock: noon.Add(time.Duration(w.r.IntN(100)) * time.Hour)}
	n.at(w.now)
	for i, record := range w.log {
		n.Apply(int64(i), record, n.at(w.now))
	}
	n.read, n.reads = len(w.log), make([]time.Duration, len(w.log))
	n.Join(len(w.log) == 0, int64(len(w.log)))
	w.nodes = append(w.nodes, n)
	for until := w.now + time.Minute; !n.Joined(); w.run(time.Millisecond) {
		if w.now > until {
			w.Fatal("a node does not join")
		}
	}
	return n
}

// at is the node's time, which also starts its limiter's epoch.
func (n *simNode) at(now time.Duration) time.Time {
	at := n.clock.Add(now)
	n.limiter.micros(at)
	return at
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += time.Millisecond
		w.step()
	}
}

func (w *world) step() {
	for i := 0; i < len(w.coming); i++ {
		if p := w.coming[i]; p.at <= w.now {
			w.log = append(w.log, p.record)
			for _, n := range w.nodes {
				n.reads = append(n.reads, w.now+w.some(w.delay))
			}
			w.coming = slices.Delete(w.coming, i, i+1)
			i--
		}
	}
	for _, n := range w.nodes {
		if !n.dead {
			w.stepNode(n)
		}
	}
}

func (w *world) stepNode(n *simNode) {
	for n.read < len(w.log) && n.reads[n.read] <= w.now {
		n.Apply(int64(n.read), w.log[n.read], n.at(w.now))
		n.read++
	}
	if w.now%time.Second == 0 {
		n.Tick(n.at(w.now))
	}
	if n.failed > 0 && n.failed <= w.now {
		n.failed = 0
		n.Lost()
	}
	for i := 0; i < len(n.asks); i++ {
		a, id := n.asks[i], n.ids[i]
		if d, done := n.again(n.limiter.shard(id), a, n.at(w.now)); done {
			w.note(id, d)
			n.asks, n.ids = slices.Delete(n.asks, i, i+1), slices.Delete(n.ids, i, i+1)
			i--
		}
	}
	if n.failed > 0 {
		return
	}
	if r, ok := n.Next(n.at(w.now)); ok {
		w.write(n, r)
	}
}

// write sends a record. On a bad network some are lost, and of some only the acknowledgement, so that they come after
// the writer has given them up.
func (w *world) write(n *simNode, r schema.QuotaRecord) {
	p := parcel{at: w.now + w.some(w.delay), record: r, from: n}
	if w.lossy && w.r.IntN(5) == 0 {
		n.failed = w.now + w.some(100*time.Millisecond)
		p.at = w.now + w.some(300*time.Millisecond)
		if w.r.IntN(2) == 0 {
			return
		}
	}
	w.coming = append(w.coming, p)
}

func (w *world) some(most time.Duration) time.Duration {
	return time.Duration(w.r.Int64N(int64(most))) + time.Millisecond
}

func (w *world) request(n *simNode, id string, limit, count int) {
	shard := n.limiter.shard(id)
	shard.mu.Lock()
	d, a := n.take(shard.lease(id), limit, count, n.at(w.now))
	shard.mu.Unlock()
	if a != nil {
		n.asks, n.ids = append(n.asks, a), append(n.ids, id)
		return
	}
	for range count {
		w.note(id, d)
	}
}

func (w *world) note(id string, d Decision) {
	if d.Allowed {
		w.served[id] = append(w.served[id], w.now)
	} else {
		w.tally[id]++
	}
}

// check looks at every window of 60 seconds.
func (w *world) check(id string, limit int) {
	w.Helper()
	at := w.served[id]
	first := 0
	for i := range at {
		for at[i]-at[first] >= Window {
			first++
		}
		if n := i - first + 1; n > limit {
			w.Fatalf("%s: %d requests in the 60 seconds before %v, the limit is %d", id, n, at[i], limit)
		}
	}
}

// Whatever the load, the limit and the network: no window of 60 seconds has more than the limit.
func TestSharedLimitHoldsInEveryWindow(t *testing.T) {
	seeds := uint64(16)
	if os.Getenv("KEYPULSE_SOAK") != "" {
		seeds = 2000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			limit := []int{1, 2, 7, 20, 100, 300}[w.r.IntN(6)]
			nodes := []*simNode{w.join(), w.join(), w.join()}
			w.lossy = seed%2 == 1
			rate := 1 + w.r.IntN(40)
			only := -1
			for ms := range 150_000 {
				if ms%10_000 == 0 { // the balancer, the client and the machines change their ways
					only, rate = w.r.IntN(4)-1, 1+w.r.IntN(40)
				}
				if ms == 50_000 {
					victim := w.r.IntN(3)
					nodes[victim].dead = true
					nodes[victim] = w.join()
				}
				if w.r.IntN(1000) < rate {
					n := nodes[w.r.IntN(3)]
					if only >= 0 {
						n = nodes[only]
					}
					w.request(n, "ak", limit, 1)
				}
				w.run(time.Millisecond)
			}
			var alone int64
			for _, n := range w.nodes {
				alone += n.alone.Load()
			}
			most := limit
			if w.lossy && alone > 0 { // a second without the log: each node lets its part through
				most = 2 * limit
			}
			w.check("ak", most)
			if !w.lossy && alone > 0 {
				t.Errorf("%d requests were decided without a log that answers", alone)
			}
			if len(w.served["ak"]) < limit {
				t.Errorf("only %d of %d were allowed", len(w.served["ak"]), limit)
			}
		})
	}
}

// A key gets its whole limit on whatever node it asks, at once and when it moves on.
func TestSharedLimitIsWholeOnOneNode(t *testing.T) {
	for _, limit := range []int{1, 3, 20, 100} {
		w := newWorld(t, uint64(limit))
		w.delay = 3 * time.Millisecond
		nodes := []*simNode{w.join(), w.join(), w.join()}
		for minute, n := range nodes {
			before := len(w.served["ak"])
			for range 2 * limit {
				w.request(n, "ak", limit, 1)
				w.run(20 * time.Millisecond)
			}
			w.run(logWait)
			if got := len(w.served["ak"]) - before; got != limit {
				t.Errorf("limit %d, node %d: %d were allowed", limit, minute, got)
			}
			w.run(Window)
		}
		w.check("ak", limit)
	}
}

// Requests that come all over the place, below the limit, are all allowed.
func TestSharedLimitRefusesNobodyBelow(t *testing.T) {
	w := newWorld(t, 3)
	nodes := []*simNode{w.join(), w.join(), w.join()}
	for range 180 { // 90 in 60 seconds
		w.request(nodes[w.r.IntN(3)], "ak", 100, 1)
		w.run(time.Minute / 90)
	}
	if w.tally["ak"] > 0 {
		t.Errorf("%d of 180 were refused", w.tally["ak"])
	}
}

func TestSharedLimitChanges(t *testing.T) {
	w := newWorld(t, 4)
	nodes := []*simNode{w.join(), w.join()}
	spend := func(limit, want int) {
		t.Helper()
		before := len(w.served["ak"])
		for i := range 3 * max(limit, 10) {
			w.request(nodes[i%2], "ak", limit, 1)
			w.run(10 * time.Millisecond)
		}
		if got := len(w.served["ak"]) - before; got != want {
			t.Errorf("limit %d: %d were allowed, want %d", limit, got, want)
		}
	}
	spend(40, 40)
	spend(100, 60) // the 40 are still in the window
	w.run(Window)
	spend(10, 10)
	spend(20, 10)
}

// What a node held that died is free again when no use of it can count any more; what one held that left is free at once.
func TestSharedSlotsOfTheDead(t *testing.T) {
	w := newWorld(t, 5)
	dies, stays := w.join(), w.join()
	for range 60 {
		w.request(dies, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	w.run(time.Second)
	dies.dead = true
	spend := func() int {
		before := len(w.served["ak"])
		for range 150 {
			w.request(stays, "ak", 100, 1)
			w.run(time.Millisecond)
		}
		w.run(time.Second)
		return len(w.served["ak"]) - before
	}
	if got := spend(); got < 30 || got > 40 {
		t.Errorf("%d were allowed beside the dead node's", got)
	}
	w.run(90 * time.Second)
	if got := spend(); got != 100 {
		t.Errorf("%d were allowed when the dead node's slots were free again", got)
	}
	w.check("ak", 100)
}

func TestSharedSlotsOfOneThatLeft(t *testing.T) {
	w := newWorld(t, 6)
	leaves, stays := w.join(), w.join()
	w.request(leaves, "ak", 100, 1)
	w.run(time.Second)
	w.coming = append(w.coming, parcel{at: w.now, record: leaves.Leave(leaves.at(w.now))})
	leaves.dead = true
	w.run(100 * time.Millisecond)
	for range 150 {
		w.request(stays, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	if got := len(w.served["ak"]); got != 100 {
		t.Errorf("%d were allowed, want all", got)
	}
}

// A node that slept was buried: it trusts nothing that it held.
func TestSharedSleeper(t *testing.T) {
	w := newWorld(t, 8)
	sleeper, awake := w.join(), w.join()
	for range 50 {
		w.request(sleeper, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	sleeper.dead = true
	w.run(90 * time.Second)
	for range 100 {
		w.request(awake, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	sleeper.dead = false
	w.run(time.Second)
	for range 100 {
		w.request(sleeper, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	w.run(time.Second)
	w.check("ak", 100)
	if !sleeper.Joined() {
		t.Error("it has not joined again")
	}
}

// Requests of a bulk are taken together or not at all.
func TestSharedTakesMany(t *testing.T) {
	w := newWorld(t, 9)
	one, other := w.join(), w.join()
	for range 30 {
		w.request(one, "ak", 100, 1)
		w.run(time.Millisecond)
	}
	w.request(other, "ak", 100, 70)
	w.run(time.Second)
	shard := other.limiter.shard("ak")
	if got := shard.leases["ak"].window.count; got != 70 {
		t.Errorf("%d of 70 were taken", got)
	}
	w.request(other, "ak", 100, 101)
	if w.tally["ak"] == 0 {
		t.Error("more than the limit were taken")
	}
}

// When the log does not answer, each node lets its part through.
func TestSharedWithoutTheLog(t *testing.T) {
	w := newWorld(t, 10)
	nodes := []*simNode{w.join(), w.join()}
	for _, n := range nodes {
		n.failed = time.Hour // nothing is written any more
	}
	w.run(10 * time.Second)
	for range 200 {
		for _, n := range nodes {
			w.request(n, "ak", 100, 1)
		}
		w.run(time.Millisecond)
	}
	w.run(2 * time.Second)
	if got := len(w.served["ak"]); got != 100 {
		t.Errorf("%d were allowed, want the limit", got)
	}
	if nodes[0].Counts(nodes[0].at(w.now)).Fresh {
		t.Error("it says that it counts together with the others")
	}
}

func BenchmarkShareTake(b *testing.B) {
	for _, limit := range []int{100, 100_000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			l := NewLimiter()
			s := NewShare(l)
			now := noon
			l.micros(now)
			s.Join(true, 0)
			offset := int64(0)
			say := func() {
				if r, ok := s.Next(now); ok {
					s.Apply(offset, r, now)
					offset++
				}
			}
			say()
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(100 * time.Microsecond)
				shard := l.shard("ak_1")
				shard.mu.Lock()
				_, a := s.take(shard.lease("ak_1"), limit, 1, now)
				shard.mu.Unlock()
				select {
				case <-s.Kick():
					say()
				default:
				}
				if offset%1024 == 0 {
					s.Tick(now)
					say()
				}
				if a != nil {
					s.again(shard, a, now)
				}
			}
		})
	}
}
