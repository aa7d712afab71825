package stream

import "keypulse/internal/judged"

// audience is the subscribers of one tenant. Those who want one key alone stand apart, by the key, so that a row is compared
// with none of those who want another.
type audience struct {
	any   []*Subscription
	ofKey map[string][]*Subscription
}

func (a *audience) add(s *Subscription) {
	list := a.any
	if key := s.filter.KeyID; key != "" {
		list = a.ofKey[key]
	}
	s.place = len(list)
	a.set(s, append(list, s))
}

// remove takes s out, if it is there; the last one takes its place.
func (a *audience) remove(s *Subscription) {
	list := a.any
	if key := s.filter.KeyID; key != "" {
		list = a.ofKey[key]
	}
	if s.place >= len(list) || list[s.place] != s {
		return // it replays, and was never added
	}
	last := len(list) - 1
	list[s.place] = list[last]
	list[s.place].place = s.place
	list[last] = nil
	a.set(s, list[:last])
}

// set makes list the one in which s has its place.
func (a *audience) set(s *Subscription, list []*Subscription) {
	key := s.filter.KeyID
	switch {
	case key == "":
		a.any = list
	case len(list) == 0:
		delete(a.ofKey, key)
	default:
		a.ofKey[key] = list
	}
}

func (a *audience) isEmpty() bool { return len(a.any) == 0 && len(a.ofKey) == 0 }

// each calls f with everybody who may want the row, for whom the rest of the filter decides; with everybody for nil.
func (a *audience) each(row *judged.Row, f func(*Subscription)) {
	for _, s := range a.any {
		f(s)
	}
	if row != nil {
		for _, s := range a.ofKey[row.KeyID] {
			f(s)
		}
		return
	}
	for _, list := range a.ofKey {
		for _, s := range list {
			f(s)
		}
	}
}
