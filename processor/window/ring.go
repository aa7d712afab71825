package window

import (
	"math"

	"keypulse/rules"
	"keypulse/schema"
)

// Counts and numbers keep their entries in a ring, whose size is a power of two. An entry of a count is one word,
// its time; that of a number three, time and the float's halves.

const (
	timeWords   = 1
	numberWords = 3
	firstRing   = 2
)

// at returns the words of entry i, the oldest is 0.
func (s *opened) at(i int, words int) []uint32 {
	mask := len(s.entries)/words - 1
	p := (int(s.head) + i) & mask * words
	return s.entries[p : p+words : p+words]
}

// expire drops the entries that have left the window at the time now. When an event counted at that time it has been done.
func (s *opened) expire(now, window schema.Millis, words int) {
	if s.newest == now {
		return
	}
	cutoff := now - window
	if s.newest <= cutoff {
		s.clear()
		return
	}
	for s.n > 0 && s.time(s.oldest) <= cutoff {
		s.dropOldest(words)
	}
	if s.merged != nil && s.merged.count > 0 && !s.merged.expire(s.state, cutoff) {
		s.dropSlices()
	}
}

// dropOldest drops the oldest entry.
func (s *opened) dropOldest(words int) {
	s.head = (s.head + 1) & uint16(len(s.entries)/words-1)
	if s.n--; s.n > 0 {
		s.oldest = s.at(0, words)[0]
	}
}

// push appends an entry at the time now and returns it and its place in the ring.
func (s *opened) push(now schema.Millis, words int) (entry []uint32, place int) {
	if size := len(s.entries) / words; int(s.n) == size {
		s.resize(max(firstRing, 2*size), words)
	}
	s.newest = now
	if s.n == 0 {
		s.oldest = uint32(now)
	}
	s.n++
	entry = s.at(int(s.n)-1, words)
	entry[0] = uint32(now)
	return entry, (int(s.head) + int(s.n) - 1) & (len(s.entries)/words - 1)
}

// resize moves the entries, of which the ring is full, to a ring of size entries, the oldest first.
func (s *opened) resize(size, words int) {
	old, head, block, room := s.entries, int(s.head)*words, s.block, s.room
	s.room = 0 // setRoom shall not give it back yet
	s.setRoom(size * words)
	n := copy(s.entries, old[head:])
	copy(s.entries[n:], old[:head])
	if s.head = 0; room > 0 {
		s.rooms.entries.give(block, int(room))
	}
}

// count adds an event to a count.
func (s *opened) count(now, window schema.Millis) {
	s.expire(now, window, timeWords)
	if s.n == maxExact {
		s.merge(s.oldest, window, 0, false)
		s.dropOldest(timeWords)
	}
	s.push(now, timeWords)
}

// counted is the number of events in the window.
func (s *opened) counted(now, window schema.Millis) uint64 {
	s.expire(now, window, timeWords)
	if s.merged == nil {
		return uint64(s.n)
	}
	return uint64(s.n) + s.merged.count
}

// blockEntries is how many neighbouring places of a ring share one summary, so that a window of a thousand numbers
// is read in some sixty steps.
const blockEntries = 32

func number(entry []uint32) float64 {
	_ = entry[2]
	return math.Float64frombits(uint64(entry[1])<<32 | uint64(entry[2]))
}

// add adds a number.
func (s *opened) add(now, window schema.Millis, x float64, spread bool) {
	s.expire(now, window, numberWords)
	if s.n == maxExact {
		s.merge(s.oldest, window, number(s.at(0, numberWords)), spread)
		s.dropOldest(numberWords)
	}
	size := len(s.entries)
	entry, place := s.push(now, numberWords)
	bits := math.Float64bits(x)
	entry[1], entry[2] = uint32(bits>>32), uint32(bits)
	switch {
	case len(s.entries) != size:
		s.makeBlocks(spread)
	case s.merged != nil && s.merged.blocks != nil:
		s.merged.blocks.append(place, x, spread)
	}
}

// makeBlocks summarises the blocks of a ring that has grown.
func (s *opened) makeBlocks(spread bool) {
	size := len(s.entries) / numberWords
	if size < 4*blockEntries {
		return
	}
	if s.merged == nil {
		s.setMerged(&merged{})
	}
	before := s.merged.bytes()
	s.merged.blocks = newBlocks(size)
	s.grow(before)
	for place := range int(s.n) {
		s.merged.blocks.append(place, number(s.at(place, numberWords)), spread)
	}
}

// summary summarises the window: the merged slices, then the entries from the oldest on, whole blocks at a time.
func (s *opened) summary(now, window schema.Millis, spread bool) summary {
	s.expire(now, window, numberWords)
	var sum summary
	if s.merged == nil {
		s.addEntries(&sum, 0, int(s.n), spread)
		return sum
	}
	sum = s.merged.summary(spread)
	// The entries before the first whole block, the blocks, the entries after the last.
	before := int(s.n)
	if s.merged.blocks != nil {
		before = min(before, -int(s.head)&(blockEntries-1))
	}
	s.addEntries(&sum, 0, before, spread)
	if wholes := (int(s.n) - before) / blockEntries; wholes > 0 {
		first := (int(s.head) + before) / blockEntries & (len(s.merged.blocks.list) - 1)
		sum.join(s.merged.blocks.join(first, wholes, spread), spread)
	}
	if (int(s.n)-before)%blockEntries > 0 {
		sum.join(&s.merged.blocks.tail, spread)
	}
	return sum
}

// addEntries adds the entries from one to another, which are in one or two pieces of the ring.
func (s *opened) addEntries(sum *summary, from, to int, spread bool) {
	begin, end, size := (int(s.head)+from)*numberWords, (int(s.head)+to)*numberWords, len(s.entries)
	if end > size {
		if begin < size {
			sum.addAll(s.entries[begin:], spread)
			begin = size
		}
		begin, end = begin-size, end-size
	}
	sum.addAll(s.entries[begin:end], spread)
}

// summary is what sum, avg, min, max and stddev need to know of numbers.
type summary struct {
	n        uint64
	sum      float64
	low      float64
	high     float64
	variance float64 // n times the variance; only kept for stddev
}

func (s *summary) add(x float64, spread bool) {
	if s.n == 0 {
		*s = summary{n: 1, sum: x, low: x, high: x}
		return
	}
	if spread {
		n := float64(s.n)
		distance := x - s.sum/n
		s.variance += float64(float64(distance*distance) * (n / (n + 1)))
	}
	s.n++
	s.sum += x
	if x < s.low {
		s.low = x
	}
	if x > s.high {
		s.high = x
	}
}

// addAll adds the numbers of entries that follow each other.
func (s *summary) addAll(entries []uint32, spread bool) {
	if spread || s.n == 0 {
		for ; len(entries) >= numberWords && (spread || s.n == 0); entries = entries[numberWords:] {
			s.add(number(entries), spread)
		}
	}
	s.n += uint64(len(entries) / numberWords)
	sum, low, high := s.sum, s.low, s.high
	for ; len(entries) >= numberWords; entries = entries[numberWords:] {
		x := number(entries)
		sum += x
		if x < low {
			low = x
		}
		if x > high {
			high = x
		}
	}
	s.sum, s.low, s.high = sum, low, high
}

// join adds the numbers of o. Products are rounded by conversions, so that no machine fuses them with the sum.
func (s *summary) join(o *summary, spread bool) {
	if o.n == 0 {
		return
	}
	if s.n == 0 {
		*s = *o
		return
	}
	if spread {
		a, b := float64(s.n), float64(o.n)
		distance := o.sum/b - s.sum/a
		s.variance += o.variance + float64(float64(distance*distance)*(a*b/(a+b)))
	}
	s.n += o.n
	s.sum += o.sum
	s.low, s.high = min(s.low, o.low), max(s.high, o.high)
}

// value is the call's value: of no numbers 0 for sum, nil for the others.
func (s summary) value(c rules.Call) rules.Value {
	switch {
	case c == rules.Sum:
		return rules.Float(s.sum)
	case s.n == 0:
		return rules.Value{}
	case c == rules.Avg:
		return rules.Float(s.sum / float64(s.n))
	case c == rules.Min:
		return rules.Float(s.low)
	case c == rules.Max:
		return rules.Float(s.high)
	default:
		return rules.Float(math.Sqrt(max(0, s.variance) / float64(s.n)))
	}
}
