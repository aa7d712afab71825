package broker

import (
	"context"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"keypulse/internal/pause"
)

const (
	// requestBytes is from where a request takes no further batch: far below what brokers take by default (100 MiB).
	requestBytes = 8 << 20
	// linkIdle is how long a link's connection is kept without use: less than brokers, and what is in between, do.
	linkIdle = time.Minute
)

// link carries the batches of all lanes that have the same leader: what waits goes into one request, and while it is under
// way the next one gathers. There is one request in flight, on a connection of the link's own. A link knows one thing to do
// with an answer, to acknowledge; a batch that is not acknowledged goes to its queue's goroutine, see [queue.land].
type link struct {
	client *Client
	leader int32
	wake   chan struct{}            // of size 1: there may be a batch
	up     atomic.Bool              // it has a connection
	queues atomic.Pointer[[]*queue] // whose leader it was when last asked
	turn   int                      // the queue that is asked first, when all do not fit into a request
	flying []flying                 // what the request has; its parts are in the same order
	out    produce
}

// flying is a batch under way.
type flying struct {
	queue *queue
	batch *batch
}

func (l *link) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run keeps a connection to the leader, until ctx is done. Without one the queues deliver for themselves.
func (l *link) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		begin := time.Now()
		l.connect(ctx)
		if time.Since(begin) > time.Second {
			n = 0
		}
		if pause.For(ctx, backoff(n)) != nil {
			return
		}
	}
}

// connect serves on one connection until it fails, is idle for long, or ctx is done.
func (l *link) connect(ctx context.Context) {
	if len(*l.queues.Load()) == 0 {
		return
	}
	dial, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{ctx: ctx, link: l, begun: make(chan struct{}), ended: make(chan struct{})}
	late := time.AfterFunc(requestTimeout, func() {
		select {
		case <-s.begun:
		default:
			cancel()
		}
	})
	defer late.Stop()
	_, _ = l.client.transport.RoundTrip(dial, l.client.kafka.Addr, s) // why it ended matters to nobody: the batches have gone on
	if !s.withdraw() {
		<-s.ended
	}
}

// session is a link's stay on one of kafka-go's connections, which it makes and authenticates.
type session struct {
	claim
	ctx          context.Context //nolint:containedctx // of the link's run: the interface has no room for it
	link         *link
	begun, ended chan struct{}
}

// ApiKey is part of kafka-go's protocol.Message.
func (s *session) ApiKey() protocol.ApiKey { return protocol.Produce } //nolint:staticcheck // ST1003: the interface's name

// Required says that the requests write themselves.
func (s *session) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker chooses the leader.
func (s *session) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	leader, ok := cluster.Brokers[s.link.leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafka.LeaderNotAvailable
	}
	return leader, nil
}

// RawExchange has the connection to itself until the session ends, and then has it closed.
func (s *session) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if !s.take() {
		return nil, errWithdrawn
	}
	defer close(s.ended)
	close(s.begun)
	conn, ok := rw.(deadliner)
	if !ok {
		panic("BUG: kafka-go's connection takes no deadline")
	}
	if err := s.link.serve(s.ctx, conn); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

type deadliner interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}

// serve sends what waits, a request at a time.
func (l *link) serve(ctx context.Context, conn deadliner) error {
	l.up.Store(true)
	defer func() {
		l.up.Store(false)
		for _, q := range *l.queues.Load() {
			q.wakeGoroutine()
		}
	}()
	idle := time.NewTimer(linkIdle)
	defer idle.Stop()
	for ctx.Err() == nil {
		// Who is about to produce does it first. That is all there is of a linger: on an idle machine it takes no time.
		runtime.Gosched()
		if l.gather(time.Now()); len(l.flying) == 0 {
			idle.Reset(linkIdle)
			select {
			case <-l.wake:
				continue
			case <-idle.C:
			case <-ctx.Done():
			}
			return nil
		}
		if err := l.exchange(conn); err != nil {
			return err
		}
	}
	return nil
}

// gather takes a batch of each queue that has one, as far as they fit into a request.
func (l *link) gather(now time.Time) {
	queues, size := *l.queues.Load(), 0
	for i := range queues {
		q := queues[(l.turn+i)%len(queues)]
		b := q.take(l, now)
		if b == nil {
			continue
		}
		b.began = now
		q.lane.seal(b)
		l.flying = append(l.flying, flying{q, b})
		l.out.parts = append(l.out.parts, part{partition: q.lane.partition, batch: b.buf})
		if size += len(b.buf); size > requestBytes {
			l.turn = (l.turn + i + 1) % len(queues)
			return
		}
	}
}

// exchange sends what has gathered and hands out what the broker answers.
func (l *link) exchange(conn deadliner) error {
	err := conn.SetDeadline(time.Now().Add(l.out.timeout))
	if err == nil {
		err = l.out.exchange(conn)
	}
	for i, f := range l.flying {
		offset, failed := int64(0), err
		if err == nil {
			offset, failed = l.out.parts[i].outcome()
		}
		f.queue.land(l, f.batch, offset, failed)
	}
	clear(l.flying)
	clear(l.out.parts)
	l.flying, l.out.parts = l.flying[:0], l.out.parts[:0]
	return err
}
