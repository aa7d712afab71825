package quota_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/quota"
	"keypulse/schema"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// kafka-go's connection pools end some time after Close, with their own contexts.
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connPool).discover"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*conn).run"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connGroup).connect"),
	)
}

// start runs a node that has joined; stop ends it.
func start(t *testing.T, c *broker.Client) (n *quota.Node, stop func()) {
	t.Helper()
	n = quota.New(quota.Config{Client: c, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-n.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("a node is not ready")
	}
	return n, stop
}

// Three nodes, one key, many clients at once: exactly the limit is let through, and on each node something.
func TestThreeNodesOneLimit(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	var nodes []*quota.Node
	for range 3 {
		n, _ := start(t, c)
		nodes = append(nodes, n)
	}
	const limit = 300
	var allowed [3]atomic.Int64
	var clients sync.WaitGroup
	for client := range 9 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 1))
			for range 200 {
				i := r.IntN(3)
				if nodes[i].Take("ak", limit, 1, time.Now()).Allowed {
					allowed[i].Add(1)
				}
			}
		})
	}
	clients.Wait()
	total := int64(0)
	for i := range allowed {
		total += allowed[i].Load()
		if allowed[i].Load() == 0 {
			t.Errorf("node %d let nothing through", i)
		}
	}
	if total > limit || total < limit*95/100 {
		t.Errorf("%d were allowed, the limit is %d", total, limit)
	}
}

// A key that asks one node only gets its whole limit there, whatever the others hold and do not use.
func TestOneNodeGetsTheWholeLimit(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	first, _ := start(t, c)
	second, _ := start(t, c)
	for _, limit := range []int{2, 20, 200} {
		id := string(rune('a' + limit%26))
		if !first.Take(id, limit, 1, time.Now()).Allowed {
			t.Fatal("the first request is refused")
		}
		allowed := 1
		for range limit {
			if second.Take(id, limit, 1, time.Now()).Allowed {
				allowed++
			}
		}
		if allowed != limit {
			t.Errorf("limit %d: %d were allowed", limit, allowed)
		}
	}
}

// What a node says of a key to its client is what the other node knows.
func TestRemaining(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	n, stop := start(t, c)
	for want := 9; want >= 0; want-- {
		if d := n.Take("ak", 10, 1, time.Now()); !d.Allowed || d.Remaining != want || d.Limit != 10 {
			t.Fatalf("%+v, want %d remaining", d, want)
		}
	}
	if d := n.Take("ak", 10, 1, time.Now()); d.Allowed || d.RetryAfter < 50 || d.RetryAfter > 60 {
		t.Errorf("%+v", d)
	}
	stop()

	next, _ := start(t, c) // the limit outlives the node
	if d := next.Take("ak", 10, 1, time.Now()); d.Allowed {
		t.Errorf("%+v after a restart", d)
	}
}

// A node that has nothing to do writes a few bytes now and then, and each record can be read by people.
func TestRecordsOnTheLog(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	n, stop := start(t, c)
	n.Take("ak", 100, 1, time.Now())
	stop()
	var takes, leaves int
	_, end, err := c.Offsets(t.Context(), schema.TopicQuota, 0)
	if err != nil {
		t.Fatal(err)
	}
	for r := c.NewReader(schema.TopicQuota, 0, 0); r.Next() < end; {
		records, err := r.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			q, err := schema.DecodeControl[schema.QuotaRecord](records[i].Value)
			if err != nil || string(records[i].Key) != q.Node {
				t.Fatalf("%v: %s", err, records[i].Value)
			}
			if slices.ContainsFunc(q.Keys, func(c schema.QuotaClaim) bool { return c.ID == "ak" && c.Take == 6 && c.Limit == 100 }) {
				takes++
			}
			if q.Leave {
				leaves++
			}
		}
	}
	if takes != 1 || leaves != 1 {
		t.Errorf("%d records take the first lease, %d leave", takes, leaves)
	}
}
