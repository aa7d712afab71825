package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// TestRateLimitOverThreeNodes has the clients of one API key ask three ingest nodes at random, over HTTP and Kafka: together
// they let through the limit, and say when to come again.
func TestRateLimitOverThreeNodes(t *testing.T) {
	const limit, clients, each = 60, 6, 40
	c := newCluster(t)
	record, apiKey := newAPIKey(c.secret, apiKeyRequest{tenant: "demo", name: "limited", scopes: auth.DefaultScopes(), rateLimit: limit})
	if _, err := putAPIKey(t.Context(), c.client, auth.NewTable(c.secret), schema.AuditCreate, record); err != nil {
		t.Fatal(err)
	}
	c.apiKey = apiKey
	var nodes []*instance
	for range 3 {
		in, _ := c.node(role{name: "ingest", keys: true, book: true, add: (*node).addIngest})
		await(t, "the node is ready", time.Minute, func() error {
			_, err := in.try(http.MethodGet, "/readyz", "")
			return err
		})
		nodes = append(nodes, in)
	}
	begin := time.Now()
	var accepted, refused [3]atomic.Int64
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for range each {
				i := random.IntN(3)
				r, err := nodes[i].try(http.MethodPost, "/api/events", `{"key_id":"k","event_type":"e","severity":"nominal"}`)
				switch {
				case err != nil:
					t.Error(err)
				case r.status == http.StatusCreated:
					accepted[i].Add(1)
				case r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") != "" && r.header.Get("X-RateLimit-Remaining") == "0":
					refused[i].Add(1)
				default:
					t.Errorf("node %d: %d %v %s", i, r.status, r.header, r.body)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for i := range nodes {
		total += accepted[i].Load()
		if accepted[i].Load() == 0 || refused[i].Load() == 0 {
			t.Errorf("node %d accepted %d and refused %d", i, accepted[i].Load(), refused[i].Load())
		}
	}
	if took := time.Since(begin); took < time.Minute && (total > limit || total < limit*95/100) {
		t.Errorf("%d accepted in %v, the limit is %d", total, took, limit)
	}
}
