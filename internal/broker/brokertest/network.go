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
	"github.com/twmb/franz-go/pkg/kmsg"

	"keypulse/schema"
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

// Network is a network before a real broker that a test can spoil. It stands where the broker accepts connections, so
// that what is spoiled are bytes of real connections to the address that the broker advertises.
type Network struct {
	Addr string

	mu sync.Mutex
	// guards the following
	random *rand.Rand
	faults Faults
	conns  map[*unreliableConn]bool

	delayed atomic.Int64 // requests that are being delayed
}

// StartNetwork runs a broker as [StartBroker] does, behind a network that is good until [Network.Spoil]; the seed decides
// the rest.
func StartNetwork(t testing.TB, seed uint64) *Network {
	t.Helper()
	if useKafka(t) {
		return sharedKafka(t).spoilable(t, seed)
	}
	return &StartUnreliable(t, seed).Network
}

func (n *Network) seed(seed uint64) {
	n.random, n.conns = rand.New(rand.NewPCG(seed, seed)), make(map[*unreliableConn]bool)
}

// Spoil sets what the network does from now on.
func (n *Network) Spoil(f Faults) {
	n.mu.Lock()
	n.faults = f
	n.mu.Unlock()
}

// Calm ends all faults and all connections, and returns when no request that was sent under them can arrive any more.
func (n *Network) Calm(t testing.TB) {
	t.Helper()
	n.Spoil(Faults{})
	for deadline := time.Now().Add(20 * time.Second); n.delayed.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a request is delayed for ever")
		}
	}
	n.Cut()
}

// Cut ends every connection.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Conn.Close() // the client may have closed it
		delete(n.conns, c)
	}
}

// DropBelow drops the records of a partition below an offset, as retention does.
func (n *Network) DropBelow(t testing.TB, topic schema.Topic, partition int32, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: string(topic), Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}},
	}}
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	if err := exchange(n.Addr, req, resp); err != nil {
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
	header := 4 // the correlation id
	if resp.IsFlexible() {
		header++ // no tagged fields
	}
	return resp.ReadFrom(body[header:])
}

// throw decides by chance which of the faults with these probabilities happens; -1 for none.
func (n *Network) throw(of func(Faults) []float64) (fault int, f Faults, chance float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := n.random.Float64()
	for i, p := range of(n.faults) {
		if at < p {
			return i, n.faults, n.random.Float64()
		}
		at -= p
	}
	return -1, n.faults, 0
}

type unreliableListener struct {
	net.Listener
	n *Network
}

// Accept wraps the connection.
func (l unreliableListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	uc := &unreliableConn{Conn: c, n: l.n}
	l.n.mu.Lock()
	l.n.conns[uc] = true
	l.n.mu.Unlock()
	return uc, nil
}

// unreliableConn is the broker's end of a connection. The broker reads a request in two steps, its size of four bytes
// and the rest, and writes an answer in one.
type unreliableConn struct {
	net.Conn
	n    *Network
	mute atomic.Bool // an answer was swallowed: no other can follow
}

var errCut = errors.New("the network ended the connection")

// Read throws the faults of a request.
func (c *unreliableConn) Read(b []byte) (int, error) {
	if len(b) == 4 {
		return c.Conn.Read(b)
	}
	switch fault, f, chance := c.n.throw(func(f Faults) []float64 { return []float64{f.CutRequest, f.Delay} }); fault {
	case 0:
		return 0, c.cut()
	case 1:
		c.n.delayed.Add(1)
		defer c.n.delayed.Add(-1)
		time.Sleep(time.Duration(chance * float64(f.MaxDelay)))
	}
	return c.Conn.Read(b)
}

// Write throws the faults of an answer.
func (c *unreliableConn) Write(b []byte) (int, error) {
	fault, _, chance := c.n.throw(func(f Faults) []float64 { return []float64{f.CutAnswer, f.Swallow} })
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
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}
