package broker_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// TestTopicsHaveTheirSettings asks the broker what it made of them.
func TestTopicsHaveTheirSettings(t *testing.T) {
	addr := brokertest.StartBroker(t)
	c, err := broker.Open(broker.Config{Brokers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: 2, Replicas: 1, MinInSync: 1, RetentionBytes: 1 << 40, RetentionMS: 86_400_000}); err != nil {
		t.Fatal(err)
	}
	const never = "-1"
	log := map[string]string{
		"cleanup.policy": "delete", "retention.ms": "86400000", "retention.bytes": "1099511627776", "min.insync.replicas": "1", "max.message.bytes": "8388608",
	}
	control := map[string]string{"cleanup.policy": "delete", "retention.ms": never, "retention.bytes": never, "min.insync.replicas": "1"}
	for topic, want := range map[schema.Topic]map[string]string{
		schema.TopicVerdicts: log,
		schema.TopicEvents:   {"cleanup.policy": "delete", "retention.ms": "86400000", "message.timestamp.after.max.ms": "5000"},
		schema.TopicState:    {"cleanup.policy": "delete", "retention.ms": never, "retention.bytes": never, "max.message.bytes": "8388608"},
		schema.TopicQuota:    {"cleanup.policy": "delete", "retention.ms": "3600000"},
		schema.TopicLog:      control, schema.TopicRules: control, schema.TopicAPIKeys: control, schema.TopicKeys: control,
		schema.TopicAlertActions: control, schema.TopicAudit: control, schema.TopicUses: control,
	} {
		k := kafka.Client{Addr: kafka.TCP(addr)}
		res, err := k.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: string(topic)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, e := range res.Resources[0].ConfigEntries {
			got[e.ConfigName] = e.ConfigValue
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %q, want %q", topic, name, got[name], value)
			}
		}
	}
}

// TestClockAhead has a node whose clock is wrong: its events are refused, known as not written, and others go on.
func TestClockAhead(t *testing.T) {
	brokertest.NeedsKafka(t, "the embedded broker has its clients' clock")
	c, _ := brokertest.Start(t, 1)
	a := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig())
	for _, step := range []struct {
		ahead time.Duration
		want  error
	}{{0, nil}, {time.Minute, broker.ErrNotWritten}, {-time.Hour, nil}, {2 * time.Second, nil}} {
		r := record(0, "k", step.ahead.String())
		r.Time += schema.Millis(step.ahead.Milliseconds())
		_, err := a.Records(t.Context(), r)
		if !errors.Is(err, step.want) || (err != nil && !errors.Is(err, kafka.InvalidTimestamp)) {
			t.Errorf("%s ahead: %v, want %v", step.ahead, err, step.want)
		}
	}
}

// TestDocumentedRightsSuffice gives a user the rights that docs/operations.md asks for, and no others.
func TestDocumentedRightsSuffice(t *testing.T) {
	brokertest.NeedsKafka(t, "the embedded broker knows no rights")
	k := brokertest.StartKafka(t, brokertest.KafkaConfig{Settings: []string{
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:ANONYMOUS",
		"listener.security.protocol.map=DIRECT:PLAINTEXT,PROXIED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms=PLAIN",
		`listener.name.proxied.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_keypulse="secret";`,
	}})
	n := k.StartNetwork(t, 9)
	user := broker.Config{Brokers: []string{n.Addr}, SASL: "plain", User: "keypulse", Password: "secret", SessionTimeout: time.Second}
	c, err := broker.Open(user)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	_, err = c.EnsureTopics(ctx, broker.TopicConfig{Partitions: 1, Replicas: 1})
	cancel()
	if !errors.Is(err, kafka.TopicAuthorizationFailed) || !strings.Contains(err.Error(), "create topic keypulse.") {
		t.Errorf("without rights: %v", err)
	}

	admin := kafka.Client{Addr: kafka.TCP(k.Addr)}
	res, err := admin.CreateACLs(t.Context(), &kafka.CreateACLsRequest{ACLs: documentedRights(t)})
	if err := errors.Join(append(res.Errors, err)...); err != nil {
		t.Fatal(err)
	}
	useCluster(t, user)
	deleted, err := broker.Open(user)
	if err != nil {
		t.Fatal(err)
	}
	defer deleted.Close()
	if _, err := broker.NewAppend(deleted, schema.TopicState, 0, broker.DefaultProducerConfig()).Records(t.Context(), record(0, "k", "v")); err != nil {
		t.Error(err)
	}
	if err := deleted.DeleteBefore(t.Context(), schema.TopicState, 0, 1); err != nil {
		t.Error(err)
	}
	if err := deleted.DeleteBefore(t.Context(), schema.TopicEvents, 0, 1); !errors.Is(err, kafka.TopicAuthorizationFailed) {
		t.Errorf("events may be deleted: %v", err)
	}
}

// documentedRights reads the kafka-acls commands of docs/operations.md.
func documentedRights(t *testing.T) []kafka.ACLEntry {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]kafka.ACLOperationType{
		"Create": kafka.ACLOperationTypeCreate, "Describe": kafka.ACLOperationTypeDescribe, "Read": kafka.ACLOperationTypeRead,
		"Write": kafka.ACLOperationTypeWrite, "Delete": kafka.ACLOperationTypeDelete,
	}
	var rights []kafka.ACLEntry
	for line := range strings.Lines(string(page)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "kafka-acls" {
			continue
		}
		right := kafka.ACLEntry{
			PermissionType: kafka.ACLPermissionTypeAllow, Principal: "User:keypulse", Host: "*", ResourcePatternType: kafka.PatternTypeLiteral,
		}
		var allowed []kafka.ACLOperationType
		for i := 1; i < len(words)-1; i++ {
			switch words[i] {
			case "--operation":
				operation, ok := operations[words[i+1]]
				if !ok {
					t.Fatalf("unknown operation in %q", line)
				}
				allowed = append(allowed, operation)
			case "--topic":
				right.ResourceType, right.ResourceName = kafka.ResourceTypeTopic, words[i+1]
			case "--group":
				right.ResourceType, right.ResourceName = kafka.ResourceTypeGroup, words[i+1]
			case "--resource-pattern-type":
				right.ResourcePatternType = kafka.PatternTypePrefixed
			}
		}
		for _, right.Operation = range allowed {
			rights = append(rights, right)
		}
	}
	if len(rights) == 0 {
		t.Fatal("docs/operations.md has no kafka-acls command")
	}
	return rights
}
