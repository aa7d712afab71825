package ingest

import (
	"testing"
	"time"

	"keypulse/internal/answer"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestShutdownEndsTheReadingOfFirsts asks for events that the log does not hold yet, which a reader waits for.
func TestShutdownEndsTheReadingOfFirsts(t *testing.T) {
	n := startNode(t, brokertest.StartUnreliable(t, 1).Addr, nil)
	events := make([]answer.Event, 3)
	var duplicates []duplicate
	for i := range events {
		events[i].Event = &schema.Event{}
		duplicates = append(duplicates, duplicate{i, schema.EventID(n.cfg.Incarnation.Base, 0, int32(i))})
	}
	shutdown := make(chan struct{})
	close(shutdown)
	begin := time.Now()
	if differ := n.answerFirsts(shutdown, events, duplicates, true); len(differ) > 0 {
		t.Errorf("differ: %+v", differ)
	}
	if took := time.Since(begin); took >= firstTimeout {
		t.Errorf("took %v after the shutdown", took)
	}
	for i, d := range duplicates {
		if !events[i].Duplicate || events[i].ID != d.first {
			t.Errorf("event %d is answered as %d, duplicate %v; want %d", i, events[i].ID, events[i].Duplicate, d.first)
		}
	}
}
