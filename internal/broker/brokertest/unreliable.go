package brokertest

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"keypulse/schema"
)

// Kinds of requests; package kmsg has all of them.
const (
	Produce       = kmsg.Produce
	DeleteRecords = kmsg.DeleteRecords
)

// Errors that a broker answers; package kerr has all of them.
var (
	NotEnoughReplicas            = kerr.NotEnoughReplicas
	NotEnoughReplicasAfterAppend = kerr.NotEnoughReplicasAfterAppend
	TopicAuthorizationFailed     = kerr.TopicAuthorizationFailed
)

// Unreliable is an embedded broker whose answers a test can dictate, behind a network that it can spoil.
type Unreliable struct {
	Network
	cluster *kfake.Cluster
}

// StartUnreliable runs an embedded broker in a folder of the test. Its network is good until [Network.Spoil]; the seed
// decides the rest.
func StartUnreliable(t testing.TB, seed uint64) *Unreliable {
	t.Helper()
	u := new(Unreliable)
	u.seed(seed)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.Ports(0), kfake.DataDir(t.TempDir()), kfake.GroupMinSessionTimeout(sessionTimeout),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
			return unreliableListener{l, &u.Network}, err
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	u.cluster, u.Addr = cluster, cluster.ListenAddrs()[0]
	t.Cleanup(func() {
		u.Spoil(Faults{})
		cluster.Close()
	})
	return u
}

// Answer makes the broker answer the next requests of a kind (-1: until the fault is removed) for a topic with an
// error, without acting on them, except where Kafka answers so after it has acted: REQUEST_TIMED_OUT and
// NOT_ENOUGH_REPLICAS_AFTER_APPEND. An empty topic puts the error at the top of the answer; where partitions are named, only
// theirs has it.
func (u *Unreliable) Answer(key kmsg.Key, topic schema.Topic, err *kerr.Error, count int, partitions ...int32) *kfake.FaultHandle {
	return u.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: string(topic), Partitions: partitions, TopLevel: topic == "", Err: err, Count: count})
}

// HangUp makes the broker end the connection instead of answering the next request of a kind.
func (u *Unreliable) HangUp(key kmsg.Key) {
	u.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errCut, true })
}

// Count counts the requests of a kind for a topic from now on.
func (u *Unreliable) Count(key kmsg.Key, topic schema.Topic) *kfake.FaultHandle {
	return u.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: string(topic), Observe: true, Count: -1})
}

// Produced tells, from now on, of each Produce request for a topic which partitions it has.
func (u *Unreliable) Produced(t testing.TB, topic schema.Topic) (requests func() [][]int32) {
	t.Helper()
	var mu sync.Mutex
	var all [][]int32
	var last kmsg.Request // it is looked at once for each partition
	watch := u.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{Produce}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
		if r == last {
			return false
		}
		last = r
		for _, asked := range r.(*kmsg.ProduceRequest).Topics {
			if asked.Topic != string(topic) {
				continue
			}
			var partitions []int32
			for _, p := range asked.Partitions {
				partitions = append(partitions, p.Partition)
			}
			mu.Lock()
			all = append(all, partitions)
			mu.Unlock()
		}
		return false
	}})
	t.Cleanup(watch.Remove)
	return func() [][]int32 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}
