package window

import "keypulse/schema"

// expectAtOnce is how many events are looked ahead for at once: about as many misses as a core waits for at the same time.
const expectAtOnce = 16

// Expect looks ahead for events that will be observed next: it reads the memory of their keys, so that the misses of several keys
// overlap, of which Observe would wait for one after the other. It changes nothing.
func (s *Store) Expect(events []schema.Event) {
	for ; len(events) > expectAtOnce; events = events[expectAtOnce:] {
		s.expect(events[:expectAtOnce])
	}
	s.expect(events)
}

func (s *Store) expect(events []schema.Event) {
	var keys [expectAtOnce]*key
	var names [expectAtOnce]uint32
	n, touched := 0, uint32(0)
	for i := range events {
		names[i] = hashName(events[i].KeyID)
	}
	for i := range events {
		if t := s.known(events[i].Tenant); t != nil {
			if number, ok := t.keys.likely(names[i]); ok {
				keys[n] = s.keys.at(number)
				n++
			}
		}
	}
	for _, k := range keys[:n] {
		touched += uint32(k.n)
	}
	for _, k := range keys[:n] {
		touched += uint32(*s.keys.names.one(k.name))
		list := k.series(&s.rooms)
		for i := 0; i < len(list); i += 2 {
			touched += uint32(list[i].n)
		}
	}
	for _, k := range keys[:n] {
		list := k.series(&s.rooms)
		for i := range list {
			touched += s.rooms.touch(&list[i])
		}
	}
	s.expected = touched
}

// touch reads the memory that the next event of a series needs: the end of its entries, and its views.
func (r *rooms) touch(s *series) (touched uint32) {
	if s.size == 0 {
		return 0
	}
	place := uint32(s.first) + uint32(s.n)
	switch {
	case s.table:
		place = uint32(s.last)
	case s.shape == hashes:
		place = min(place, uint32(s.size)-1)
	default:
		place &= uint32(s.size) - 1
	}
	touched = *r.entries.one(s.block + place*uint32(s.words()))
	for i := range uint32(s.nviews) {
		touched += r.views.one(s.views + i).from
	}
	return touched
}
