package ticket

import (
	"fmt"
	"testing"
	"time"

	"keypulse/schema"
)

// TestAFullBookIsFreeAgain fills a book. When its tickets have ended it takes new ones, though no record has come since.
func TestAFullBookIsFreeAgain(t *testing.T) {
	now := time.Now()
	b := New(Config{Now: func() time.Time { return now }})
	ends := schema.MillisOf(now.Add(time.Second))
	for i := range maxUsed {
		name := fmt.Sprint(i)
		b.used[name], b.order = "somebody", append(b.order, schema.TicketRecord{Ticket: name, Ends: ends})
	}
	if _, count := b.look("new"); count != maxUsed {
		t.Fatalf("%d are remembered", count)
	}
	now = now.Add(time.Second)
	if _, count := b.look("new"); count != 0 {
		t.Errorf("%d are remembered after their end", count)
	}
}
