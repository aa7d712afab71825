package dedup

import (
	"crypto/sha256"
	"encoding/binary"

	"keypulse/schema"
)

// Window is for how long an event_id is remembered, in log time.
const Window = schema.Millis(24 * 3600 * 1000)

// Config bounds what is remembered.
type Config struct {
	// IDs is how many event_ids of a partition are remembered; beyond it the oldest goes; default 1,000,000 (about 100 MB).
	IDs int
}

// First is the first event with an event_id, and what was found about it.
type First struct {
	Offset int64
	At     schema.Millis // the partition's log time at the event
	Alerts int           // that it raised
	Score  int
}

// id stands for tenant, key_id and event_id: the first half of their SHA-256, since nobody may choose two that collide.
type id [16]byte

// Seen is the event_ids of one partition. One goroutine owns it.
type Seen struct {
	bound   int
	byID    map[id]*entry
	oldest  *entry // entries are a list by rising offset
	newest  *entry
	last    *entry // the first event that Event has just noted; nil for others
	dropped uint64

	restoredLow int64 // between Restore and Finish: what is below is forgotten

	fresh   *entry // the first entry that AppendChanges has not written; nil: none
	pass    *entry // the next entry of its pass; nil: none is under way
	passEnd int64  // the offset of the pass's last entry
}

type entry struct {
	First
	id   id
	next *entry
}

// New makes a memory without event_ids.
func New(c Config) *Seen {
	if c.IDs == 0 {
		c.IDs = 1_000_000
	}
	return &Seen{bound: c.IDs, byID: map[id]*entry{}}
}

// Event takes the next event of the partition; logTime is the largest created_at up to and including it. It returns the first
// event with the same event_id when this one is a duplicate. An event whose event_id the server made is never one, and is
// not remembered. Nothing of e is kept.
func (s *Seen) Event(e *schema.Event, offset int64, logTime schema.Millis) (first First, duplicate bool) {
	s.last = nil
	s.expire(logTime)
	if !e.OwnID {
		return First{}, false
	}
	id := hash(e)
	if known := s.byID[id]; known != nil {
		return known.First, true
	}
	if len(s.byID) >= s.bound {
		s.drop()
		s.dropped++
	}
	s.add(&entry{id: id, First: First{Offset: offset, At: logTime}})
	s.last = s.newest
	return First{}, false
}

// Judged notes what was found about the event that Event has just taken, so that its duplicates can be answered alike.
func (s *Seen) Judged(alerts, score int) {
	if s.last != nil {
		s.last.Alerts, s.last.Score = alerts, score
	}
}

// Len is how many event_ids are remembered.
func (s *Seen) Len() int { return len(s.byID) }

// Dropped is how many event_ids went before their 24 hours because there were too many.
func (s *Seen) Dropped() uint64 { return s.dropped }

// Reach is how far back in log time every event_id is remembered: the whole window, unless some were dropped.
func (s *Seen) Reach(logTime schema.Millis) schema.Millis {
	if s.dropped == 0 || s.oldest == nil {
		return Window
	}
	return min(Window, logTime-s.oldest.At)
}

func (s *Seen) expire(logTime schema.Millis) {
	for s.oldest != nil && s.oldest.At <= logTime-Window {
		s.drop()
	}
}

// drop forgets the oldest entry.
func (s *Seen) drop() {
	e := s.oldest
	if s.oldest = e.next; s.oldest == nil {
		s.newest = nil
	}
	if s.fresh == e {
		s.fresh = e.next
	}
	if s.pass == e {
		s.pass = e.next
	}
	delete(s.byID, e.id)
}

// add puts an entry at the end.
func (s *Seen) add(e *entry) {
	if s.newest == nil {
		s.oldest = e
	} else {
		s.newest.next = e
	}
	s.newest = e
	s.byID[e.id] = e
	if s.fresh == nil {
		s.fresh = e
	}
}

func hash(e *schema.Event) id {
	b := make([]byte, 0, 512)
	b = schema.AppendRecordKey(b, e.Tenant, e.KeyID)
	b = append(b, 0)
	b = append(b, e.EventID...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.KeyID)))
	sum := sha256.Sum256(b)
	return id(sum[:16])
}
