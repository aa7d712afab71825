package notify

import (
	"encoding/json"
	"reflect"
	"strconv"
	"testing"

	"keypulse/schema"
)

// TestWholeMakesTheSameOutbox writes an outbox anew, as compaction does, and reads it: from nothing, and on top of what it was,
// as a reader does that was in the middle.
func TestWholeMakesTheSameOutbox(t *testing.T) {
	to := ref{"demo", "wh_1"}
	was := newOutbox()
	for i, r := range []record{
		{Deliveries: []*Delivery{message(to, typeAlert, "al_1", 1, 1, 1, json.RawMessage(`{"n":1}`), schema.Millis(1000).Time())}},
		{Deliveries: []*Delivery{ended(*message(to, typeAlert, "al_2", 2, 2, 1, nil, schema.Millis(2000).Time()), Failed, reasonOver)}},
		{Gather: []gather{{Ref: to, At: 3, Alert: &summary{ID: "al_3", RuleID: "r", RaisedAt: 3}}}},
		{Gather: []gather{{Ref: to, At: 4, Alert: &summary{ID: "al_4", RuleID: "r", RaisedAt: 4}}, {Ref: to, At: 4, More: 2}}},
		{Hide: &hide{Ref: ref{"demo", "si_1"}, At: 5, Alert: "al_5"}},
		{Next: 6, Seen: map[int32]mark{0: {7, 1}}},
	} {
		r.Next = int64(i + 1)
		was.apply(&r)
	}
	read := func(into *outbox) *outbox {
		for _, r := range was.whole() {
			again, err := decodeRecord(mustMarshal(&r))
			if err != nil {
				t.Fatal(err)
			}
			into.apply(&again)
		}
		return into
	}
	for name, is := range map[string]*outbox{"from nothing": read(newOutbox()), "twice": read(read(newOutbox()))} {
		if is.next != was.next || !reflect.DeepEqual(is.seen, was.seen) || !reflect.DeepEqual(is.hidden, was.hidden) || !reflect.DeepEqual(is.deliveries, was.deliveries) {
			t.Errorf("%s: %+v, not %+v", name, is, was)
		}
		got, want := is.target(to), was.target(to)
		if !reflect.DeepEqual(got.gathered, want.gathered) || got.more != want.more || got.since != want.since || got.pending != want.pending || len(got.finished) != len(want.finished) {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
}

// TestTestsAreBounded asks for more tests of a webhook that takes nothing than may wait.
func TestTestsAreBounded(t *testing.T) {
	d := &desk{box: newOutbox()}
	for i := range 2 * MaxPending {
		d.take(&schema.NoticeRecord{Kind: schema.NoticeTest, Tenant: "demo", WebhookID: "wh_1", ID: strconv.Itoa(i)}, int64(i), schema.Millis(1000).Time())
	}
	if n := d.box.target(ref{"demo", "wh_1"}).pending; n != MaxPending || len(d.box.deliveries) != n || d.box.next != 2*MaxPending {
		t.Errorf("%d wait of %d, the next notice is %d", n, len(d.box.deliveries), d.box.next)
	}
}
