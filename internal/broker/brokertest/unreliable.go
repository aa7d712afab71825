package brokertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// Faults are what an [Unreliable] network does, each as a probability for each request that arrives or answer that
// leaves.
type Faults struct {
	CutRequest float64       // the connection ends before the request, or in the middle of it
	CutAnswer  float64       // the broker has acted, the connection ends before its answer, or in the middle of it
	Swallow    float64       // the broker has acted, its answer never comes, the connection stays
	Delay      float64       // the request arrives late: when its sender may have given it up, and sent it again
	MaxDelay   time.Duration // of a delay, which is chosen at random
}

// Unreliable is a real broker behind a network that a test can spoil. The network stands where the broker accepts
// connections, so that what is spoiled are bytes of real connections to the address that the broker advertises.
type Unreliable struct {
	Addr    string
	cluster *kfake.Cluster

	mu sync.Mutex
	// guards the following
	random *rand.Rand
	faults Faults
	conns  map[*unreliableConn]bool

	delayed atomic.Int64 // requests that are being delayed
}

// StartUnreliable runs a broker in a folder of the test. Its network is good until [Unreliable.Spoil]; the seed decides
// the rest.
func StartUnreliable(t testing.TB, seed uint64) *Unreliable {
	t.Helper()
	u := &Unreliable{random: rand.New(rand.NewPCG(seed, seed)), conns: make(map[*unreliableConn]bool)}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.Ports(0), kfake.DataDir(t.TempDir()), kfake.GroupMinSessionTimeout(sessionTimeout),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
			return unreliableListener{l, u}, err
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

// Spoil sets what the network does from now on.
func (u *Unreliable) Spoil(f Faults) {
	u.mu.Lock()
	u.faults = f
	u.mu.Unlock()
}

// Calm ends all faults and all connections, and returns when no request that was sent under them can arrive any more.
func (u *Unreliable) Calm(t testing.TB) {
	t.Helper()
	u.Spoil(Faults{})
	for deadline := time.Now().Add(20 * time.Second); u.delayed.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a request is delayed for ever")
		}
	}
	u.Cut()
}

// Cut ends every connection.
func (u *Unreliable) Cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		_ = c.Conn.Close() // the client may have closed it
		delete(u.conns, c)
	}
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

// DropBelow drops the records of a partition below an offset, as retention does.
func (u *Unreliable) DropBelow(t testing.TB, topic schema.Topic, partition int32, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: string(topic), Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}},
	}}
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	if err := exchange(u.Addr, req, resp); err != nil {
		t.Fatal(err)
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("drop records of %s/%d below %d: %v", topic, partition, offset, kerr.ErrorForCode(code))
	}
}

// exchange sends a request on a connection of its own.
func exchange(addr string, req kmsg.Request, resp kmsg.Response) error {
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("dial broker: %w", err)
	}
	defer c.Close()
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	size := make([]byte, 4)
	if _, err := io.ReadFull(c, size); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size))
	if _, err := io.ReadFull(c, body); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return resp.ReadFrom(body[4:]) // after the correlation id
}

// throw decides by chance which of the faults with these probabilities happens; -1 for none.
func (u *Unreliable) throw(of func(Faults) []float64) (fault int, f Faults, chance float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.random.Float64()
	for i, p := range of(u.faults) {
		if at < p {
			return i, u.faults, u.random.Float64()
		}
		at -= p
	}
	return -1, u.faults, 0
}

type unreliableListener struct {
	net.Listener
	u *Unreliable
}

// Accept wraps the connection.
func (l unreliableListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	uc := &unreliableConn{Conn: c, u: l.u}
	l.u.mu.Lock()
	l.u.conns[uc] = true
	l.u.mu.Unlock()
	return uc, nil
}

// unreliableConn is the broker's end of a connection. The broker reads a request in two steps, its size of four bytes
// and the rest, and writes an answer in one.
type unreliableConn struct {
	net.Conn
	u    *Unreliable
	mute atomic.Bool // an answer was swallowed: no other can follow
}

var errCut = errors.New("the network ended the connection")

// Read throws the faults of a request.
func (c *unreliableConn) Read(b []byte) (int, error) {
	if len(b) == 4 {
		return c.Conn.Read(b)
	}
	switch fault, f, chance := c.u.throw(func(f Faults) []float64 { return []float64{f.CutRequest, f.Delay} }); fault {
	case 0:
		return 0, c.cut()
	case 1:
		c.u.delayed.Add(1)
		defer c.u.delayed.Add(-1)
		time.Sleep(time.Duration(chance * float64(f.MaxDelay)))
	}
	return c.Conn.Read(b)
}

// Write throws the faults of an answer.
func (c *unreliableConn) Write(b []byte) (int, error) {
	fault, _, chance := c.u.throw(func(f Faults) []float64 { return []float64{f.CutAnswer, f.Swallow} })
	switch {
	case fault == 0:
		if _, err := c.Conn.Write(b[:int(chance*float64(len(b)))]); err != nil {
			return 0, err
		}
		return 0, c.cut()
	case fault == 1 || c.mute.Load():
		c.mute.Store(true)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *unreliableConn) cut() error {
	_ = c.Close() // the cut is the error
	return errCut
}

// Close forgets the connection.
func (c *unreliableConn) Close() error {
	c.u.mu.Lock()
	delete(c.u.conns, c)
	c.u.mu.Unlock()
	return c.Conn.Close()
}
