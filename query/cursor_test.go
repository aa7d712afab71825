package query

import (
	"regexp"
	"testing"

	"keypulse/schema"
)

var opaque = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func TestCursorRoundTrip(t *testing.T) {
	f := func(l list, p place) {
		t.Helper()
		s := p.cursor(l)
		got, err := parseCursor(l, s)
		if err != nil || got != p || !opaque.MatchString(s) {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, p)
		}
	}
	f(listEvents, place{})
	f(listEvents, place{at: schema.MillisOf(noon), id: schema.MaxID})
	f(listAlerts, place{at: maxTime, name: "al_x"})
	f(listKeys, place{name: "a\x00\xff/☃"})
}

func TestCursorRefusesEveryOtherText(t *testing.T) {
	p := place{at: schema.MillisOf(noon), id: 4821, name: "name"}
	good := p.cursor(listEvents)
	f := func(s string) {
		t.Helper()
		if got, err := parseCursor(listEvents, s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
	f("")
	f("e")
	f(good[1:])
	f(good[:len(good)-1])
	f(good + "A")
	f(good + "\n")
	f(good + "=")
	f(p.cursor(listKeys))
	f(place{at: maxTime + 1}.cursor(listEvents))
	f(place{at: -1}.cursor(listEvents))
	f(place{id: schema.MaxID + 1}.cursor(listEvents))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range good {
		for _, c := range []byte(alphabet) {
			if c != good[i] {
				f(good[:i] + string(c) + good[i+1:])
			}
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(place{at: 1, id: 2, name: "n"}.cursor(listEvents))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parseCursor(listEvents, s); err == nil && p.cursor(listEvents) != s {
			t.Errorf("%q is accepted and written %q", s, p.cursor(listEvents))
		}
	})
}
