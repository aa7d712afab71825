package ticket_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/internal/ticket"
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

// start runs a node's book until the test ends.
func start(t *testing.T, c *broker.Client, now func() time.Time) *ticket.Book {
	t.Helper()
	b := ticket.New(ticket.Config{Client: c, Log: zap.NewNop(), Now: now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	return b
}

// TestOneOfManyUsesATicket has three nodes, one of them started late, use each ticket many times at once: one attempt succeeds.
func TestOneOfManyUsesATicket(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	nodes := []*ticket.Book{start(t, c, nil), start(t, c, nil)}
	ends := schema.MillisOf(time.Now().Add(time.Hour))
	for n := range 20 {
		if n == 10 {
			nodes = append(nodes, start(t, c, nil))
		}
		one := auth.Ticket{KeyID: "ak", Nonce: fmt.Sprint("ticket-", n), Ends: ends}
		var opened, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				switch err := nodes[i%len(nodes)].Use(t.Context(), one); {
				case err == nil:
					opened.Add(1)
				case errors.Is(err, auth.ErrTicketUsed):
					refused.Add(1)
				default:
					t.Errorf("use: %v", err)
				}
			})
		}
		all.Wait()
		if opened.Load() != 1 || refused.Load() != 11 {
			t.Errorf("ticket %d: %d attempts succeeded and %d were refused, want 1 and 11", n, opened.Load(), refused.Load())
		}
	}
	late := start(t, c, nil)
	if err := late.Use(t.Context(), auth.Ticket{KeyID: "ak", Nonce: "ticket-3", Ends: ends}); !errors.Is(err, auth.ErrTicketUsed) {
		t.Errorf("a node that starts afterwards: %v", err)
	}
}

// TestEndedTicketsAreForgotten uses a ticket after its end, as a node would whose clock is behind: what is not remembered
// cannot be used.
func TestEndedTicketsAreForgotten(t *testing.T) {
	c, _ := brokertest.Start(t, 1)
	var past atomic.Int64
	b := start(t, c, func() time.Time { return time.Now().Add(time.Duration(past.Load())) })
	one := auth.Ticket{KeyID: "ak", Nonce: "one", Ends: schema.MillisOf(time.Now().Add(time.Minute))}
	if err := b.Use(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	past.Store(int64(time.Hour))
	if err := b.Use(t.Context(), one); !errors.Is(err, auth.ErrTicketUsed) {
		t.Errorf("after its end: %v", err)
	}
}
