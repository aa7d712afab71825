package brokertest

import (
	"context"
	"net"
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
// NOT_ENOUGH_REPLICAS_AFTER_APPEND. An empty topic puts the error at the top of the answer.
func (u *Unreliable) Answer(key kmsg.Key, topic schema.Topic, err *kerr.Error, count int) *kfake.FaultHandle {
	return u.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: string(topic), TopLevel: topic == "", Err: err, Count: count})
}

// HangUp makes the broker end the connection instead of answering the next request of a kind.
func (u *Unreliable) HangUp(key kmsg.Key) {
	u.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errCut, true })
}

// Count counts the requests of a kind for a topic from now on.
func (u *Unreliable) Count(key kmsg.Key, topic schema.Topic) *kfake.FaultHandle {
	return u.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: string(topic), Observe: true, Count: -1})
}
