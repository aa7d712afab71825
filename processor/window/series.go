package window

import (
	"math"
	"unsafe"

	"keypulse/schema"
)

// maxExact is how many events, or different values, a window holds before it may merge the oldest.
const maxExact = 1000

// series is the events of one source that a key has had, as far back as the longest window over them reaches, oldest first: for counts
// their times, else times and numbers, or times and hashes of values. All aggregates over the source look at it. While it is small
// that is all, and an aggregate is computed from the entries; a large one has a view for each aggregate.
//
// Times in entries are the low 32 bits of milliseconds: all are at most a window, 30 days, before newest, which is less than the 49
// days that 32 bits tell apart. What no window holds any more is dropped when its room is needed: the first entries may be older.
type series struct {
	newest schema.Millis // effective time of the last event
	slot   uint32
	block  uint32 // of the entries
	views  uint32 // block of views
	nviews uint16 // 0 while small
	size   uint16 // room, in entries
	first  uint16 // the place of the oldest entry
	n      uint16 // entries
	last   uint16 // the place of the newest entry, in a table
	shape  entryShape
	table  bool // of hashes
}

const (
	seriesBytes = int(unsafe.Sizeof(series{}))
	wordBytes   = 4
)

// An entry begins with its time; the halves of its number or hash follow, and in a table its neighbours in time.
const (
	timeWords  = 1
	moreWords  = 3
	tableWords = 4
)

// words is how many words an entry has.
func (s *series) words() int {
	switch {
	case s.shape == times:
		return timeWords
	case s.shape == stamp:
		return 0
	case s.table:
		return tableWords
	default:
		return moreWords
	}
}

// content is the number, or the hash, of an entry.
func content(entry []uint32) uint64 {
	_ = entry[2]
	return uint64(entry[1])<<32 | uint64(entry[2])
}

func number(entry []uint32) float64 { return math.Float64frombits(content(entry)) }

func put(entry []uint32, now schema.Millis, content uint64) {
	_ = entry[2]
	entry[0], entry[1], entry[2] = uint32(now), uint32(content>>32), uint32(content)
}

// age is how long before the last event a time is.
func (s *series) age(low uint32) uint32 { return uint32(s.newest) - low }

// time restores a time from its low bits.
func (s *series) time(low uint32) schema.Millis { return s.newest - schema.Millis(s.age(low)) }

// reach is the age below which an entry is in a window that ends now.
func (s *series) reach(now, window schema.Millis) uint32 {
	return uint32(max(0, window-(now-s.newest)))
}

// opened is a series at hand: with its plan, the room of its entries, and its views.
type opened struct {
	*series
	plan    *plan
	rooms   *rooms
	entries []uint32
	list    []view
}

func (r *rooms) open(s *series, p *plan) opened {
	return opened{
		series: s, plan: p, rooms: r,
		entries: r.entries.at(s.block, s.room()),
		list:    r.views.at(s.views, int(s.nviews)),
	}
}

// room is how many words the series has for entries.
func (s *series) room() int {
	n := s.words() * int(s.size)
	if s.table {
		n += tableWords
	}
	return n
}

// setRoom gives the series other room, whose content is arbitrary.
func (s *opened) setRoom(size int, table bool) {
	block, room := s.block, len(s.entries)
	s.newRoom(size, table)
	s.giveRoom(block, room)
}

// newRoom gives the series room. What it had is the caller's to give back.
func (s *opened) newRoom(size int, table bool) {
	s.size, s.table, s.first, s.block, s.entries = uint16(size), table, 0, 0, nil
	if n := s.room(); size > 0 && n > 0 {
		s.block = s.rooms.entries.take(n)
		s.entries = s.rooms.entries.at(s.block, n)
	}
}

func (s *opened) giveRoom(block uint32, room int) {
	if room > 0 {
		s.rooms.entries.give(block, room)
	}
}

// at returns entry i of a ring or a row, the oldest is 0.
func (s *opened) at(i int) []uint32 {
	place := int(s.first) + i
	if s.shape != hashes {
		place &= int(s.size) - 1
	}
	words := s.words()
	return s.entries[place*words : place*words+words]
}

// drop drops the oldest entries of a ring or a row, which are in no window.
func (s *opened) drop(gone int) {
	if gone == 0 {
		return
	}
	s.n -= uint16(gone)
	s.first += uint16(gone)
	if s.shape != hashes {
		s.first &= s.size - 1
	}
	for i := range s.list {
		v := &s.list[i]
		v.from -= min(v.from, uint32(gone))
	}
}

// begin is the place among the entries of a ring or a row where the window that ends now begins.
func (s *opened) begin(now, window schema.Millis) int {
	reach := s.reach(now, window)
	low, high := 0, int(s.n)
	for low < high {
		middle := (low + high) / 2
		if s.age(s.at(middle)[0]) >= reach {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// clear drops everything: all windows have run empty. A little room stays for the next event.
func (s *opened) clear() {
	s.dropViews()
	s.n, s.first = 0, 0
	if s.size > keptRoom {
		s.setRoom(0, false)
	}
}

// keptRoom is how many entries have room in a series whose windows have run empty.
const keptRoom = 4
