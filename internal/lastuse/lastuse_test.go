package lastuse_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/lastuse"
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

// keys are API keys that several nodes know.
type keys struct {
	secret *auth.Secret
	ids    []string
	texts  []string
	values [][]byte
}

func newKeys(t *testing.T, n int) *keys {
	t.Helper()
	k := &keys{secret: auth.NewSecret()}
	for i := range n {
		id, text := fmt.Sprint("ak_", i), auth.NewKey(rand.Reader)
		value, err := json.Marshal(schema.APIKeyRecord{ID: id, Version: 1, Tenant: "demo", HMAC: k.secret.Digest(text).String(), Status: schema.APIKeyActive})
		if err != nil {
			t.Fatal(err)
		}
		k.ids, k.texts, k.values = append(k.ids, id), append(k.texts, text), append(k.values, value)
	}
	return k
}

// node is a table of the keys and what runs for it until stop.
type node struct {
	*auth.Table
	*lastuse.Node
	stop func()
}

func (k *keys) start(t *testing.T, c *broker.Client, cfg lastuse.Config) *node {
	t.Helper()
	cfg.Client, cfg.Keys, cfg.Log, cfg.Every = c, auth.NewTable(k.secret), zap.NewNop(), 50*time.Millisecond
	for i, value := range k.values {
		if err := cfg.Keys.Apply(int64(i), []byte(k.ids[i]), value); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{Table: cfg.Keys, Node: lastuse.New(cfg)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	<-n.Ready()
	return n
}

func (n *node) use(t *testing.T, text string, at time.Time) {
	t.Helper()
	if _, _, err := n.Lookup(text, at); err != nil {
		t.Fatal(err)
	}
}

// knows waits until the node says that a key was used last at a time.
func (n *node) knows(t *testing.T, id string, at time.Time) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for n.Get(id).LastUsed() != schema.MillisOf(at) {
		if time.Now().After(deadline) {
			t.Fatalf("%s was last used at %v, want %v", id, n.Get(id).LastUsed(), schema.MillisOf(at))
		}
		time.Sleep(time.Millisecond)
	}
}

var noon = time.Date(2026, 4, 5, 12, 0, 0, 0, time.UTC)

// TestEveryNodeKnows uses keys on one node and asks another; what is used again within half a minute is not told again, but
// when the node ends.
func TestEveryNodeKnows(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	k := newKeys(t, 3)
	a, b := k.start(t, c, lastuse.Config{}), k.start(t, c, lastuse.Config{})
	a.use(t, k.texts[0], noon)
	b.knows(t, k.ids[0], noon)
	a.use(t, k.texts[0], noon.Add(29*time.Second))
	a.use(t, k.texts[1], noon)
	b.knows(t, k.ids[1], noon)
	a.knows(t, k.ids[0], noon.Add(29*time.Second)) // by itself
	b.knows(t, k.ids[0], noon)
	a.use(t, k.texts[0], noon.Add(31*time.Second))
	b.knows(t, k.ids[0], noon.Add(31*time.Second))
	b.use(t, k.texts[0], noon.Add(40*time.Second))
	b.stop()
	a.knows(t, k.ids[0], noon.Add(40*time.Second))
	late := k.start(t, c, lastuse.Config{})
	if late.Get(k.ids[0]).LastUsed() != schema.MillisOf(noon.Add(40*time.Second)) || late.Get(k.ids[2]).LastUsed() != 0 {
		t.Errorf("a node that starts: %v and %v", late.Get(k.ids[0]).LastUsed(), late.Get(k.ids[2]).LastUsed())
	}
	_, end, err := c.Offsets(t.Context(), schema.TopicUses, 0)
	if err != nil || end != 4 {
		t.Errorf("%d records (%v), want one for each use that was worth it", end, err)
	}
}

// TestTopicIsShortened tells of so many uses that the topic is cut, several times, by several nodes, and loses none.
func TestTopicIsShortened(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	k := newKeys(t, 10)
	nodes := []*node{k.start(t, c, lastuse.Config{Records: 4}), k.start(t, c, lastuse.Config{Records: 4})}
	first, at := int64(0), noon
	for round := 0; first < 12; round++ {
		if round == 1000 {
			t.Fatalf("the topic begins at %d", first)
		}
		// The last key is not used again: nobody but those who cut the topic repeats that.
		if at = at.Add(time.Minute); round == 0 {
			nodes[0].use(t, k.texts[9], at)
		}
		one := round % 9
		nodes[round%2].use(t, k.texts[one], at)
		nodes[1-round%2].knows(t, k.ids[one], at)
		var err error
		if first, _, err = c.Offsets(t.Context(), schema.TopicUses, 0); err != nil {
			t.Fatal(err)
		}
	}
	late := k.start(t, c, lastuse.Config{Records: 4})
	for _, id := range k.ids {
		late.knows(t, id, nodes[0].Get(id).LastUsed().Time())
	}
	late.knows(t, k.ids[9], noon.Add(time.Minute))
}
