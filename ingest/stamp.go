package ingest

import (
	"sync"
	"unsafe"

	"keypulse/internal/answer"
	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/uuid7"
	"keypulse/schema"
)

// scratch is the memory in which a request's events go to the log and come back as an answer. It is used again: whoever
// frees it must have written the answer.
type scratch struct {
	records []broker.Record
	buf     []byte // the records' keys and values, and the event_ids that the server makes
	events  []answer.Event
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func newScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) free() {
	clear(s.events) // they point to the request's events
	s.records, s.buf, s.events = s.records[:0], s.buf[:0], s.events[:0]
	if cap(s.buf) <= maxKeptForReuse {
		scratches.Put(s)
	}
}

// recordRoom is what an event's record takes beside the event's strings: a UUID that the server makes, twice, and the framing.
const recordRoom = 2*uuid7.Size + 48

// stamp gives the events what the server knows about them and encodes them as s's records. An event_id that the server makes
// lies in s.
func (in *Ingest) stamp(s *scratch, sender auth.Tenant, events []schema.Event) {
	tenant, now, rev := sender.Name(), schema.MillisOf(in.cfg.Now()), in.cfg.RulesRev()
	size := 0
	for i := range events {
		e := &events[i]
		size += len(tenant) + len(e.KeyID) + len(e.Type) + len(e.SourceIP) + len(e.Actor) + len(e.Details) + len(e.EventID) + recordRoom
	}
	buf := s.buf // a record keeps its part, should buf move
	if cap(buf) < size {
		buf = make([]byte, 0, size)
	}
	for i := range events {
		e := &events[i]
		e.Tenant, e.CreatedAt, e.RulesRev = tenant, now, rev
		if !e.OwnID {
			start := len(buf)
			buf = uuid7.Append(buf, int64(now))
			e.EventID = unsafe.String(&buf[start], uuid7.Size)
		}
		start := len(buf)
		buf = schema.AppendRecordKey(buf, tenant, e.KeyID)
		key := buf[start:len(buf):len(buf)]
		start = len(buf)
		buf = e.AppendValue(buf)
		s.records = append(s.records, broker.Record{
			Partition: schema.Partition(key, in.cfg.Incarnation.Partitions),
			Key:       key,
			Value:     buf[start:len(buf):len(buf)],
			Time:      now,
		})
	}
	s.buf = buf
}
