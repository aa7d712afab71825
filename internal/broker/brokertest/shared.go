package brokertest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerVariable chooses what tests run against: "kafka" is Apache Kafka, nothing the embedded broker.
const brokerVariable = "KEYPULSE_TEST_BROKER"

// useKafka says whether tests run against Apache Kafka.
func useKafka(t testing.TB) bool {
	t.Helper()
	switch name := os.Getenv(brokerVariable); name {
	case "":
		return false
	case "kafka":
		return true
	default:
		t.Fatalf("%s=%s: must be kafka, or not set for the embedded broker", brokerVariable, name)
		return false
	}
}

// NeedsKafka skips a test of what only Apache Kafka does, and says what that is.
func NeedsKafka(t testing.TB, what string) {
	t.Helper()
	if !useKafka(t) {
		t.Skipf("only with Apache Kafka (make test-kafka): %s", what)
	}
}

// idle are the brokers that no test uses now. A broker costs some seconds to start, so a test cleans its broker up and
// leaves it to the next one; they all die with the process.
var idle struct {
	sync.Mutex
	brokers []*Kafka
}

// sharedKafka returns a broker without topics and groups, the test's own until it ends.
func sharedKafka(t testing.TB) *Kafka {
	t.Helper()
	idle.Lock()
	var k *Kafka
	if n := len(idle.brokers); n > 0 {
		k, idle.brokers = idle.brokers[n-1], idle.brokers[:n-1]
	}
	idle.Unlock()
	if k == nil {
		dir, err := os.MkdirTemp("", "keypulse-kafka-") //nolint:usetesting // it outlives the test: the next one uses the broker
		if err == nil {
			k, err = newKafka(dir, KafkaConfig{}, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := k.empty(); err != nil {
			t.Error(err)
			k.remove()
			return
		}
		idle.Lock()
		idle.brokers = append(idle.brokers, k)
		idle.Unlock()
	})
	return k
}

// empty removes all topics and groups, and returns when the broker knows no more of them.
func (k *Kafka) empty() error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left, err := k.sweep()
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("empty Apache Kafka: %d topics and groups remain", left)
		}
	}
}

// sweep asks for the removal of every topic and group and returns how many there were. A group with members cannot be
// removed: those that were killed leave it with their session.
func (k *Kafka) sweep() (int, error) {
	list := kmsg.NewPtrListGroupsRequest()
	groups := list.ResponseKind().(*kmsg.ListGroupsResponse)
	meta := kmsg.NewPtrMetadataRequest()
	meta.SetVersion(1) // no topics named: all
	topics := meta.ResponseKind().(*kmsg.MetadataResponse)
	topics.SetVersion(1)
	if err := errors.Join(exchange(k.Addr, list, groups), exchange(k.Addr, meta, topics)); err != nil {
		return 0, fmt.Errorf("empty Apache Kafka: %w", err)
	}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.SetVersion(1)
	remove.TimeoutMillis = 10_000
	for _, topic := range topics.Topics {
		if !topic.IsInternal {
			remove.TopicNames = append(remove.TopicNames, *topic.Topic)
		}
	}
	drop := kmsg.NewPtrDeleteGroupsRequest()
	for _, group := range groups.Groups {
		drop.Groups = append(drop.Groups, group.Group)
	}
	if len(remove.TopicNames) > 0 {
		removed := remove.ResponseKind().(*kmsg.DeleteTopicsResponse)
		removed.SetVersion(1)
		if err := exchange(k.Addr, remove, removed); err != nil {
			return 0, fmt.Errorf("empty Apache Kafka: delete topics: %w", err)
		}
		for _, topic := range removed.Topics {
			if err := kerr.ErrorForCode(topic.ErrorCode); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				return 0, fmt.Errorf("empty Apache Kafka: delete topic %s: %w", *topic.Topic, err)
			}
		}
	}
	if len(drop.Groups) > 0 {
		if err := exchange(k.Addr, drop, drop.ResponseKind().(*kmsg.DeleteGroupsResponse)); err != nil {
			return 0, fmt.Errorf("empty Apache Kafka: delete groups: %w", err)
		}
	}
	return len(remove.TopicNames) + len(drop.Groups), nil
}
