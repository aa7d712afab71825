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
func (s *state) at(i int, words int) []uint32 {
	mask := len(s.entries)/words - 1
	p := (int(s.head) + i) & mask * words
	return s.entries[p : p+words : p+words]
}

// expire drops the entries that are not after cutoff.
func (s *state) expire(cutoff schema.Millis, words int) {
	if s.newest <= cutoff {
		s.clear()
		return
	}
	mask := uint16(len(s.entries)/words - 1)
	for s.n > 0 && s.time(s.at(0, words)[0]) <= cutoff {
		s.head = (s.head + 1) & mask
		s.n--
	}
	if s.merged != nil && !s.merged.expire(s, cutoff) {
		s.merged.slices, s.merged.first, s.merged.count = nil, 0, 0
		if s.merged.blocks == nil {
			s.merged = nil
		}
	}
}

// push appends an entry at the time now and returns it and its place in the ring.
func (s *state) push(now schema.Millis, words int) (entry []uint32, place int) {
	if size := len(s.entries) / words; int(s.n) == size {
		s.resize(max(firstRing, 2*size), words)
	}
	s.newest = now
	s.n++
	entry = s.at(int(s.n)-1, words)
	entry[0] = uint32(now)
	return entry, (int(s.head) + int(s.n) - 1) & (len(s.entries)/words - 1)
}

// resize moves the entries to a ring of size entries, the oldest first.
func (s *state) resize(size, words int) {
	room := make([]uint32, size*words)
	for i := range int(s.n) {
		copy(room[i*words:], s.at(i, words))
	}
	s.entries, s.head = room, 0
}

// count adds an event to a count.
func (s *state) count(now, window schema.Millis) {
	s.expire(now-window, timeWords)
	if s.n == maxExact {
		s.merge(s.at(0, timeWords)[0], window, 0, false)
		s.head = (s.head + 1) & uint16(len(s.entries)/timeWords-1)
		s.n--
	}
	s.push(now, timeWords)
}

// counted is the number of events in the window.
func (s *state) counted(now, window schema.Millis) uint64 {
	s.expire(now-window, timeWords)
	if s.merged == nil {
		return uint64(s.n)
	}
	return uint64(s.n) + s.merged.count
}

// blockEntries is how many neighbouring places of a ring share one summary, so that a window of a thousand numbers
// is read in some sixty steps.
const blockEntries = 32

func number(entry []uint32) float64 {
	return math.Float64frombits(uint64(entry[1])<<32 | uint64(entry[2]))
}

// add adds a number.
func (s *state) add(now, window schema.Millis, x float64, spread bool) {
	s.expire(now-window, numberWords)
	if s.n == maxExact {
		oldest := s.at(0, numberWords)
		s.merge(oldest[0], window, number(oldest), spread)
		s.head = (s.head + 1) & uint16(len(s.entries)/numberWords-1)
		s.n--
	}
	size := len(s.entries)
	entry, place := s.push(now, numberWords)
	bits := math.Float64bits(x)
	entry[1], entry[2] = uint32(bits>>32), uint32(bits)
	switch {
	case len(s.entries) != size:
		s.makeBlocks(spread)
	case s.merged != nil && s.merged.blocks != nil && place%blockEntries == blockEntries-1:
		s.merged.blocks[place/blockEntries] = s.block(place/blockEntries, spread)
		s.merged.wholes = 0
	}
}

// makeBlocks summarises the blocks of a ring that has grown.
func (s *state) makeBlocks(spread bool) {
	size := len(s.entries) / numberWords
	if size < 4*blockEntries {
		return
	}
	if s.merged == nil {
		s.merged = &merged{}
	}
	s.merged.blocks, s.merged.wholes = make([]summary, size/blockEntries), 0
	for b := range int(s.n) / blockEntries {
		s.merged.blocks[b] = s.block(b, spread)
	}
}

// block summarises the entries in the places of block b.
func (s *state) block(b int, spread bool) summary {
	var sum summary
	for p := b * blockEntries; p < (b+1)*blockEntries; p++ {
		sum.add(number(s.entries[p*numberWords:(p+1)*numberWords]), spread)
	}
	return sum
}

// summary summarises the window: the merged slices, then the entries from the oldest on, whole blocks at a time.
func (s *state) summary(now, window schema.Millis, spread bool) summary {
	s.expire(now-window, numberWords)
	var sum summary
	if s.merged == nil || s.merged.blocks == nil {
		if s.merged != nil {
			sum = s.merged.summary(spread)
		}
		s.addEntries(&sum, 0, int(s.n), spread)
		return sum
	}
	sum = s.merged.summary(spread)
	// The entries before the first whole block, the blocks, the entries after the last.
	before := min(int(s.n), -int(s.head)&(blockEntries-1))
	wholes := (int(s.n) - before) / blockEntries
	s.addEntries(&sum, 0, before, spread)
	if wholes > 0 {
		first := (int(s.head) + before) / blockEntries & (len(s.merged.blocks) - 1)
		sum.join(s.merged.wholeBlocks(first, wholes, spread), spread)
	}
	s.addEntries(&sum, before+wholes*blockEntries, int(s.n), spread)
	return sum
}

// addEntries adds the entries from one to another.
func (s *state) addEntries(sum *summary, from, to int, spread bool) {
	mask := len(s.entries)/numberWords - 1
	for i := from; i < to; i++ {
		p := (int(s.head) + i) & mask * numberWords
		sum.add(number(s.entries[p:p+numberWords]), spread)
	}
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
