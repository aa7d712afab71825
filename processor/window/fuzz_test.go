package window

import (
	"fmt"
	"testing"

	"keypulse/schema"
)

// FuzzWindow reads a script of events, three bytes each (what, how much later, how much its clock is off), and
// compares every aggregate with the oracle after every event.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 10, 0, 2, 200, 5, 255, 0, 255, 17, 255, 128, 34, 1, 1})
	f.Add([]byte("events of a key, their clocks skewed: \x00\xff\x80\x7f\x01\xfe"))
	list := append(append(shots("1s"), shots("1m")...), sinceShot())
	set := newSet(f, "all", texts(list)...)
	f.Fuzz(func(t *testing.T, script []byte) {
		store, oracles, at := New(Config{}), map[string]*oracle{}, start
		defer store.Close()
		for ; len(script) >= 3; script = script[3:] {
			e := scriptedEvent(script, &at)
			o := oracles[e.KeyID]
			if o == nil {
				o = &oracle{}
				oracles[e.KeyID] = o
			}
			want := o.observe(e)
			got, values := store.Observe(set, &e)
			if got != want {
				t.Fatalf("effective time %d, want %d", got, want)
			}
			for i, s := range list {
				if want := o.answer(s); !agrees(values.At(i), want) {
					t.Fatalf("%s = %s, want %v", s.text, values.At(i).AppendJSON(nil), want)
				}
			}
		}
		if store.Bytes() != store.measured() {
			t.Fatalf("%d bytes, %d measured", store.Bytes(), store.measured())
		}
	})
}

// scriptedEvent reads an event from three bytes. Steps grow fast, up to some minutes, so that windows run empty too.
func scriptedEvent(script []byte, at *schema.Millis) schema.Event {
	what, step, skew := script[0], int(script[1]), int(script[2])
	*at += schema.Millis(step * step * step / 64)
	e := schema.Event{
		Tenant: "acme", KeyID: fmt.Sprint("key-", what&1), Severity: schema.Nominal,
		Type: []string{"export", "rotation"}[what>>1&1], CreatedAt: *at + schema.Millis((skew-128)*8),
	}
	if actor := what >> 2 & 7; actor > 0 {
		e.Actor = fmt.Sprint("actor-", actor)
	}
	switch amount := what >> 5; amount {
	case 0:
	case 1:
		e.Details = []byte(`{"amount":"x"}`)
	default:
		e.Details = fmt.Appendf(nil, `{"amount":%d}`, amount)
	}
	return e
}
