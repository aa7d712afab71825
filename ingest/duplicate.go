package ingest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"keypulse/ingest/decode"
	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// firstTimeout bounds the reading of a request's first events from the log.
const firstTimeout = 5 * time.Second

// The longest index that makes a batch's, or a bulk request's, Idempotency-Key an event_id.
const (
	batchIndex = len("-99")
	bulkIndex  = len("-999999")
)

// checkIdempotencyKey says what is wrong with the header, for a request that puts an index of so many bytes behind it.
func checkIdempotencyKey(key string, index int) error {
	if n := utf8.RuneCountInString(key); n > decode.MaxEventID-index || !printable(key) {
		return httpapi.InvalidFields(httpapi.FieldError{
			Field: "Idempotency-Key", Message: fmt.Sprintf("must be 1 to %d printable characters", decode.MaxEventID-index),
		})
	}
	return nil
}

// single is the index of an event that is not one of several.
const single = -1

// nameEvents gives event_ids to events without one: the Idempotency-Key with the event's index, of which first is the first.
func nameEvents(events []schema.Event, key string, first int) {
	if key == "" {
		return
	}
	for i := range events {
		e := &events[i]
		if e.OwnID {
			continue
		}
		e.EventID, e.OwnID = strings.Clone(key), true // the header is Fiber's to reuse
		if first != single {
			e.EventID += "-" + strconv.Itoa(first+i)
		}
	}
}

func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return false
		}
	}
	return true
}

// duplicate is an event of a request that was accepted before.
type duplicate struct {
	index int
	first int64 // the id of the event that came first
}

// answerFirsts turns the answers to a request's duplicates into those to the events that came first, and returns those
// duplicates whose content differs. All reading together ends after firstTimeout, or with the server.
func (in *Ingest) answerFirsts(shutdown <-chan struct{}, events []answer.Event, duplicates []duplicate, batch bool) []httpapi.FieldError {
	if len(duplicates) == 0 {
		return nil
	}
	in.metrics.duplicates.Add(float64(len(duplicates)))
	ctx, cancel := context.WithTimeout(context.Background(), firstTimeout)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-shutdown:
			cancel()
		case <-ctx.Done():
		}
	})
	var differ []httpapi.FieldError
	for _, d := range duplicates {
		a := &events[d.index]
		if !in.answerFirst(ctx, a, d.first) {
			differ = append(differ, httpapi.FieldError{Field: "event_id", Message: differs(a.ID), Index: indexOf(d.index, batch)})
		}
	}
	return differ
}

// answerFirst turns the answer to a duplicate into that to the event that came first. It reports whether both have the
// same content; where the first is no longer in the log, or not read in time, nobody can tell, and the duplicate's own
// content stands for it.
func (in *Ingest) answerFirst(ctx context.Context, a *answer.Event, id int64) (same bool) {
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
