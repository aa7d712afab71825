package broker_test

import (
	"bytes"
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestKcatReadsEvents reads an event as another consumer would: with kcat, and with the .proto file alone.
func TestKcatReadsEvents(t *testing.T) {
	addr := brokertest.StartBroker(t)
	c, _ := brokertest.Open(t, addr, 1)
	event := schema.Event{
		Tenant: "demo", KeyID: "signing-key-01", Type: "signing_request", Severity: schema.Warning, SourceIP: "10.0.0.1",
		Actor: "ü@myapp.com", Details: []byte(`{"a": [1.0, "é"]}`), EventID: "0198", OwnID: true, CreatedAt: 1_775_392_440_123, RulesRev: 4711,
	}
	r := broker.Record{Key: schema.RecordKey(event.Tenant, event.KeyID), Value: event.AppendValue(nil), Time: event.CreatedAt}
	if _, err := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig()).Records(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kcat := exec.CommandContext(ctx, "kcat", "-C", "-q", "-e", "-b", addr, "-t", string(schema.TopicEvents), "-p", "0", "-f", "%T %k|%s")
	var said bytes.Buffer
	kcat.Stderr = &said
	out, err := kcat.Output()
	if err != nil {
		t.Fatalf("kcat: %v: %s", err, said.Bytes())
	}
	head, value, _ := bytes.Cut(out, []byte("|"))
	if string(head) != "1775392440123 demo\x00signing-key-01" {
		t.Errorf("kcat reads time and key as %q", head)
	}
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"../../schema"}}}
	files, err := compiler.Compile(ctx, "events.proto")
	if err != nil {
		t.Fatal(err)
	}
	message := dynamicpb.NewMessage(files[0].Messages().ByName("Event"))
	if err := proto.Unmarshal(value, message); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"event_type": event.Type, "source_ip": event.SourceIP, "actor": event.Actor, "event_id": event.EventID, "details": string(event.Details),
	} {
		f := message.Descriptor().Fields().ByTextName(field)
		if f == nil {
			t.Errorf("events.proto has no %s", field)
			continue
		}
		if v := message.Get(f); v.String() != want && string(bytesOf(v.Interface())) != want {
			t.Errorf("%s is %q, want %q", field, v.String(), want)
		}
	}
}

func bytesOf(v any) []byte {
	b, _ := v.([]byte)
	return b
}
