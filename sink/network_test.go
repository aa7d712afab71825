package sink_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keypulse/sink"
)

// network stands before ClickHouse and spoils what it answers to INSERTs: whether they were carried out is then for the sink to
// find out.
type network struct {
	behind string // the server

	mu sync.Mutex
	// guards the following
	random *rand.Rand
	faults faults
	conns  map[net.Conn]bool

	delayed, swallowed, cut atomic.Int64 // answers
}

// faults are the probabilities of what happens to an answer.
type faults struct {
	delay   float64 // it comes late, up to maxDelay
	swallow float64 // it never comes, and the connection stays
	cut     float64 // the connection ends in the middle of it
	away    bool    // there is no server: connections end as soon as they are made
}

const maxDelay = 300 * time.Millisecond

// startNetwork puts a network before the server of a DSN and returns the DSN that leads through it.
func startNetwork(t *testing.T, dsn string, seed uint64) (n *network, through string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n = &network{behind: u.Host, random: rand.New(rand.NewPCG(seed, seed)), conns: map[net.Conn]bool{}}
	u.Host = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { n.forward(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.spoil(faults{away: true})
		wg.Wait()
	})
	return n, u.String()
}

// spoil sets what happens from now on; away ends what is connected.
func (n *network) spoil(f faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
	if f.away {
		for c := range n.conns {
			c.Close()
		}
	}
}

// keep notes a connection, to be ended by spoil; false when there is no server now.
func (n *network) keep(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range conns {
		n.conns[c] = true
	}
	return !n.faults.away
}

// throw decides by chance what happens to an answer.
func (n *network) throw() (f faults, at, how float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.faults, n.random.Float64(), n.random.Float64()
}

func (n *network) forward(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", n.behind)
	if err != nil {
		return
	}
	defer server.Close()
	if !n.keep(client, server) {
		return
	}
	defer func() {
		n.mu.Lock()
		delete(n.conns, client)
		delete(n.conns, server)
		n.mu.Unlock()
	}()
	var inserting atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		pass(server, client, func(b []byte) bool {
			switch { // a statement's text is in one piece: it is sent at once
			case bytes.Contains(b, []byte("INSERT INTO")):
				inserting.Store(true)
			case bytes.Contains(b, []byte("SELECT")), bytes.Contains(b, []byte("KILL")):
				inserting.Store(false)
			}
			return true
		})
	})
	mute := false
	pass(client, server, func(b []byte) bool {
		if !inserting.Load() {
			return !mute
		}
		f, at, how := n.throw()
		switch {
		case mute:
		case at < f.delay:
			n.delayed.Add(1)
			time.Sleep(time.Duration(how * float64(maxDelay)))
		case at < f.delay+f.swallow:
			n.swallowed.Add(1)
			mute = true
		case at < f.delay+f.swallow+f.cut:
			n.cut.Add(1)
			_, _ = client.Write(b[:int(how*float64(len(b)))]) // it ends anyway
			client.Close()
		}
		return !mute
	})
	client.Close()
	wg.Wait()
}

// pass hands on what comes from one end, as long as both are there, and drops what each refuses.
func pass(to io.Writer, from io.Reader, each func([]byte) bool) {
	b := make([]byte, 64<<10)
	for {
		size, err := from.Read(b)
		if size > 0 && each(b[:size]) {
			if _, err := to.Write(b[:size]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestAnswersOfINSERTsGetLost delays, swallows and cuts what ClickHouse answers to INSERTs.
func TestAnswersOfINSERTsGetLost(t *testing.T) {
	f, _, dsn, db, c := setUp(t)
	n, through := startNetwork(t, dsn, 1)
	cfg := config(c, f.log, openDB(t, through))
	cfg.InsertTimeout = 700 * time.Millisecond // what a swallowed answer costs
	stop := start(t, sink.New(cfg))
	n.spoil(faults{delay: 0.06, swallow: 0.04, cut: 0.06})
	for enough := int64(soak(2, 100)); n.delayed.Load() < enough || n.swallowed.Load() < enough || n.cut.Load() < enough; {
		f.feedUntilStored(db, f.total()+500)
	}
	n.spoil(faults{})
	f.await(db)
	stop()
	f.verify(db)
	t.Logf("%d events; of the answers to INSERTs %d came late, %d never, %d in part", f.total(), n.delayed.Load(), n.swallowed.Load(), n.cut.Load())
}
