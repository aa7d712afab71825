package schema_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"keypulse/schema"
)

// messages compiles the .proto files, the documents that other consumers read.
func messages(t *testing.T, file string) func(name protoreflect.Name) *dynamicpb.Message {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"."}}}
	files, err := compiler.Compile(context.Background(), file)
	if err != nil {
		t.Fatal(err)
	}
	return func(name protoreflect.Name) *dynamicpb.Message {
		return dynamicpb.NewMessage(files[0].Messages().ByName(name))
	}
}

func event() schema.Event {
	return schema.Event{
		Tenant: "demo", KeyID: "signing-key-01", Type: "signing_request", Severity: schema.Warning, SourceIP: "10.0.0.1",
		Actor: "ü@myapp.com", Details: []byte(`{"a": [1.0, "é"]}`), EventID: "0198", OwnID: true,
		CreatedAt: 1_775_392_440_123, RulesRev: 4711,
	}
}

func verdict() schema.Verdict {
	alert := schema.Alert{
		ID: "al_x", RuleID: "export-burst", RuleVersion: 3, RuleName: "Many exports", Severity: schema.Critical,
		Message: "k: 4 exports", EventID: 4821, RaisedAt: 1_775_392_440_123, Values: []byte(`{"count(\"10m\")":4}`),
	}
	return schema.Verdict{From: 10, To: 20, LogTime: 1_775_392_440_000, Exceptions: []schema.Exception{
		{Offset: 12, Score: 70, Alerts: []schema.Alert{alert, {ID: "al_y"}}, Hits: []schema.Hit{{AlertID: "al_z", RaisedAt: 5, Hits: 7, At: 9}}},
		{Offset: 19, Score: 40, DuplicateOf: 99, FirstAlerts: 2},
	}, Counts: []schema.RuleCounts{
		{Tenant: "demo", RuleID: "a", Version: 3, Hits: 7, Errors: 2, LastError: schema.RuleError{EventID: 4821, At: 1_775_392_440_123, Message: "when: broken"}},
		{Tenant: "demo", RuleID: "b", Version: 1, Shadow: 1 << 40},
	}, Counted: 1<<40 + 9}
}

func TestEventRoundTrip(t *testing.T) {
	for _, want := range []schema.Event{event(), {Tenant: "t", KeyID: "k", Type: "e", Severity: schema.Nominal}} {
		got, err := schema.DecodeEvent(schema.RecordKey(want.Tenant, want.KeyID), want.AppendValue(nil), want.CreatedAt)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestVerdictRoundTrip(t *testing.T) {
	for _, want := range []schema.Verdict{verdict(), {}, {From: 3, To: 4}} {
		got, err := schema.DecodeVerdict(want.AppendValue(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, %v; want %+v", got, err, want)
		}
	}
}

// TestVerdictsOfOlderVersions reads what was written before verdicts had counts, and has such a reader read the counts of today: a
// node of either version goes on beside the other while an installation is upgraded.
func TestVerdictsOfOlderVersions(t *testing.T) {
	want := verdict()
	want.Counts, want.Counted = nil, 0
	old := want.AppendValue(nil)
	got, err := schema.DecodeVerdict(old)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v; want %+v", got, err, want)
	}
	v := verdict()
	if value := v.AppendValue(nil); !bytes.HasPrefix(value, old) { // what follows are fields that it passes over
		t.Errorf("%x does not begin with %x", value, old)
	}
}

// TestEncodingIsTheProtoFiles reads what this package writes with the .proto files alone, and writes it again.
func TestEncodingIsTheProtoFiles(t *testing.T) {
	e, v := event(), verdict()
	for _, c := range []struct {
		file  string
		name  protoreflect.Name
		value []byte
	}{
		{"events.proto", "Event", e.AppendValue(nil)},
		{"verdicts.proto", "Verdict", v.AppendValue(nil)},
		{"verdicts.proto", "Alert", v.Exceptions[0].Alerts[0].AppendValue(nil)},
	} {
		m := messages(t, c.file)(c.name)
		if err := proto.Unmarshal(c.value, m); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if unknown := len(m.ProtoReflect().GetUnknown()); unknown > 0 {
			t.Errorf("%s: %d bytes that the file does not know", c.name, unknown)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil || !bytes.Equal(again, c.value) {
			t.Errorf("%s: written by the .proto file: %x, %v; ours: %x", c.name, again, err, c.value)
		}
	}
}

func TestEventOfTheProtoFile(t *testing.T) {
	e := event()
	m := messages(t, "events.proto")("Event")
	if err := proto.Unmarshal(e.AppendValue(nil), m); err != nil {
		t.Fatal(err)
	}
	fields := m.Descriptor().Fields()
	if got := m.Get(fields.ByName("rules_rev")).Uint(); got != uint64(e.RulesRev) {
		t.Errorf("rules_rev is %d", got)
	}
	if got := m.Get(fields.ByName("actor")).String(); got != e.Actor {
		t.Errorf("actor is %q", got)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	e := event()
	key, value := schema.RecordKey(e.Tenant, e.KeyID), e.AppendValue(nil)
	if _, err := schema.DecodeEvent([]byte("no separator"), value, 0); err == nil {
		t.Error("a key without a separator was accepted")
	}
	if _, err := schema.DecodeEvent(key, nil, 0); err == nil {
		t.Error("an empty value was accepted")
	}
	for n := 1; n < 19; n++ { // up to the severity: what follows may be left out
		if _, err := schema.DecodeEvent(key, value[:n], 0); err == nil {
			t.Errorf("the first %d bytes were accepted", n)
		}
	}
}

func FuzzDecodeVerdict(f *testing.F) {
	v := verdict()
	f.Add(v.AppendValue(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := schema.DecodeVerdict(b)
		if err != nil {
			return
		}
		again, err := schema.DecodeVerdict(v.AppendValue(nil))
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%+v became %+v, %v", v, again, err)
		}
	})
}

// TestPartitionIsTheJavaClients uses values of Kafka's own UtilsTest.testMurmur2.
func TestPartitionIsTheJavaClients(t *testing.T) {
	for text, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got, want := schema.Partition([]byte(text), 1<<30), (hash&0x7fffffff)%(1<<30); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestEventIDs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		base, offset, partition := r.Int64N(1<<40), r.Int64N(1<<41), r.Int32N(schema.MaxPartitions)
		id := schema.EventID(base, offset, partition)
		if o, p := schema.SplitEventID(base, id); o != offset || p != partition || id > schema.MaxID || id < 0 {
			t.Errorf("base %d offset %d partition %d: id %d, back %d %d", base, offset, partition, id, o, p)
		}
	}
	if n := schema.KeyNumber("demo", "signing-key-01"); n < 0 || n > schema.MaxID {
		t.Errorf("key number %d", n)
	}
}

func TestMillis(t *testing.T) {
	var m schema.Millis
	if err := m.UnmarshalText([]byte("2026-04-05T14:34:00.0019+02:00")); err != nil || m.String() != "2026-04-05T12:34:00.001Z" {
		t.Errorf("%s, %v", m, err)
	}
	if err := m.UnmarshalText([]byte("yesterday")); err == nil {
		t.Error("a time that is none was accepted")
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		m = schema.Millis(random.Int64N(400_000_000_000_000)) - 100_000_000_000_000 // years before 0 and after 9999 too
		if got, want := string(m.Append([]byte("at "))), "at "+m.Time().Format(schema.MillisLayout); got != want {
			t.Fatalf("%d: %s, want %s", m, got, want)
		}
	}
}

func TestParseTenant(t *testing.T) {
	for name, good := range map[string]bool{"demo": true, "a-1": true, "": false, "-a": false, "A": false, "a\x00b": false, "a b": false} {
		if _, err := schema.ParseTenant(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
