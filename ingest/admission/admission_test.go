package admission

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A node is simulated: so many requests are served at once, each for an exponential time; others wait in line.
type node struct {
	*testing.T
	gate    *Gate[string]
	random  *rand.Rand
	workers int
	mean    time.Duration // of a request, without a queue
	now     time.Time
	events  agenda
	busy    int
	line    []*request
	took    map[string][]time.Duration
	refused map[string]int
}

type request struct {
	tenant string
	visit  Visit
	came   time.Time
}

type happening struct {
	at time.Time
	do func()
}

type agenda []happening

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func newNode(t *testing.T, workers int, mean time.Duration) *node {
	t.Helper()
	return &node{
		T: t, gate: New[string](), random: rand.New(rand.NewPCG(1, 2)), workers: workers, mean: mean,
		now: time.Unix(1_700_000_000, 0), took: map[string][]time.Duration{}, refused: map[string]int{},
	}
}

func (n *node) after(d time.Duration, do func()) { heap.Push(&n.events, happening{n.now.Add(d), do}) }

func (n *node) exponential(mean time.Duration) time.Duration {
	return time.Duration(n.random.ExpFloat64() * float64(mean))
}

// send has a tenant send at a rate (open loop) for a time.
func (n *node) send(tenant string, perSecond float64, until time.Duration) {
	end := n.now.Add(until)
	var next func()
	next = func() {
		if n.now.After(end) {
			return
		}
		n.come(tenant)
		n.after(n.exponential(time.Duration(float64(time.Second)/perSecond)), next)
	}
	next()
}

func (n *node) come(tenant string) {
	v, ok := n.gate.Enter(tenant, n.now)
	if !ok {
		n.refused[tenant]++
		return
	}
	n.line = append(n.line, &request{tenant, v, n.now})
	n.work()
}

func (n *node) work() {
	for n.busy < n.workers && len(n.line) > 0 {
		r := n.line[0]
		n.line = n.line[1:]
		n.busy++
		n.after(n.exponential(n.mean), func() {
			n.busy--
			n.gate.Leave(r.visit, n.now, true)
			n.took[r.tenant] = append(n.took[r.tenant], n.now.Sub(r.came))
			n.work()
		})
	}
}

func (n *node) run(d time.Duration) {
	end := n.now.Add(d)
	for len(n.events) > 0 && n.events[0].at.Before(end) {
		h := heap.Pop(&n.events).(happening)
		n.now = h.at
		h.do()
	}
	n.now = end
}

func (n *node) forget() {
	n.took, n.refused = map[string][]time.Duration{}, map[string]int{}
}

func p99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// nodes are a machine beside its broker, and one whose broker is far: the same capacity of 5,000 requests in a second.
var nodes = map[string]struct {
	workers int
	mean    time.Duration
}{"near": {5, time.Millisecond}, "far": {250, 50 * time.Millisecond}}

func TestNothingIsRefusedBelowCapacity(t *testing.T) {
	for name, m := range nodes {
		n := newNode(t, m.workers, m.mean)
		for _, rate := range []float64{100, 2500, 4500} {
			n.send("a", rate, 10*time.Second)
			n.run(11 * time.Second)
		}
		for range 5 { // bursts
			for range burst {
				n.come("a")
			}
			n.run(3 * time.Second)
		}
		if n.refused["a"] > 0 {
			t.Errorf("%s: %d refused", name, n.refused["a"])
		}
	}
}

// Ten times the capacity: after a second the accepted ones are fast and not much fewer than the node can serve.
func TestFloodStaysFast(t *testing.T) {
	for name, m := range nodes {
		n := newNode(t, m.workers, m.mean)
		n.send("a", 2500, 10*time.Second)
		n.run(11 * time.Second)
		half := p99(n.took["a"])
		n.send("a", 50_000, 21*time.Second)
		n.run(time.Second)
		n.forget()
		n.run(20 * time.Second)
		flood, rate := p99(n.took["a"]), len(n.took["a"])/20
		t.Logf("%s: p99 %v at half load, %v in the flood; %d/s accepted", name, half, flood, rate)
		if bound := max(4*half, 2*aim); flood > bound {
			t.Errorf("%s: p99 %v in the flood, more than %v", name, flood, bound)
		}
		if rate < 4500 {
			t.Errorf("%s: %d/s accepted of 5,000", name, rate)
		}
		n.forget()
		n.run(2 * time.Second)
		n.send("a", 2500, 30*time.Second)
		n.run(5 * time.Second)
		n.forget()
		n.run(25 * time.Second)
		if n.refused["a"] > 0 {
			t.Errorf("%s: %d refused long after the flood", name, n.refused["a"])
		}
	}
}

// A tenant that sends little is served as if there were no flood by another.
func TestFloodOfAnother(t *testing.T) {
	n := newNode(t, 5, time.Millisecond)
	n.send("small", 250, 30*time.Second)
	n.run(5 * time.Second)
	n.send("loud", 50_000, 20*time.Second)
	n.run(time.Second)
	n.forget()
	n.run(18 * time.Second)
	if n.refused["small"]*1000 > len(n.took["small"]) || n.refused["loud"] == 0 {
		t.Errorf("refused: %v", n.refused)
	}
	if took := p99(n.took["small"]); took > 2*aim {
		t.Errorf("the small tenant's p99 is %v", took)
	}
}

// A broker that becomes slow for good is no flood: after a while nothing is refused.
func TestSlowerBrokerIsNoFlood(t *testing.T) {
	n := newNode(t, 5000, 2*time.Millisecond)
	n.send("a", 5000, 90*time.Second)
	n.run(10 * time.Second)
	n.mean = 80 * time.Millisecond
	n.run(20 * time.Second)
	n.forget()
	n.run(60 * time.Second)
	if share := float64(n.refused["a"]) / float64(len(n.took["a"])); share > 0.001 {
		t.Errorf("%d of %d refused", n.refused["a"], len(n.took["a"])+n.refused["a"])
	}
}

func TestFailuresTellNothing(t *testing.T) {
	g, now := New[string](), time.Unix(1_700_000_000, 0)
	for range 1000 {
		v, ok := g.Enter("a", now)
		if !ok {
			t.Fatal("refused")
		}
		now = now.Add(10 * time.Second)
		g.Leave(v, now, false)
	}
}

func BenchmarkGate(b *testing.B) {
	g := New[string]()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			now := time.Now()
			if v, ok := g.Enter("a", now); ok {
				g.Leave(v, now, true)
			}
		}
	})
}
