package ingest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// firstTimeout bounds the reading of a first event from the log.
const firstTimeout = 5 * time.Second

// nameEvents gives event_ids to events without one: the Idempotency-Key, in a batch with the event's index.
func nameEvents(events []schema.Event, key string, batch bool) error {
	if key == "" {
		return nil
	}
	if n := utf8.RuneCountInString(key); n > maxEventID-len("-99") || !printable(key) {
		return httpapi.InvalidFields(httpapi.FieldError{
			Field: "Idempotency-Key", Message: fmt.Sprintf("must be 1 to %d printable characters", maxEventID-len("-99")),
		})
	}
	for i := range events {
		e := &events[i]
		if e.OwnID {
			continue
		}
		e.EventID, e.OwnID = string(append([]byte(nil), key...)), true // the header is Fiber's to reuse
		if batch {
			e.EventID += "-" + strconv.Itoa(i)
		}
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return false
		}
	}
	return true
}

// answerFirst turns the answer to a duplicate into that to the event that came first. It reports whether both have the
// same content; where the first is no longer in the log, nobody can tell, and the duplicate's own content stands for it.
func (in *Ingest) answerFirst(a *answer.Event, id int64) (same bool) {
	ctx, cancel := context.WithTimeout(context.Background(), firstTimeout)
	defer cancel()
	in.metrics.duplicates.Inc()
	a.ID, a.Duplicate = id, true
	offset, partition := schema.SplitEventID(in.cfg.Incarnation.Base, id)
	record, err := in.cfg.Client.ReadAt(ctx, schema.TopicEvents, partition, offset)
	if err != nil {
		return true
	}
	first, err := schema.DecodeEvent(record.Key, record.Value, record.Time)
	if err != nil {
		return true
	}
	same = sameContent(&first, a.Event)
	a.Event = &first
	return same
}

func sameContent(a, b *schema.Event) bool {
	return a.Type == b.Type && a.Severity == b.Severity && a.SourceIP == b.SourceIP && a.Actor == b.Actor && bytes.Equal(a.Details, b.Details)
}

func differs(id int64) string { return fmt.Sprintf("is that of event %d, whose content differs", id) }

// indexOf is where an event stands in a batch; nil for a single event.
func indexOf(i int, batch bool) *int {
	if !batch {
		return nil
	}
	return &i
}
