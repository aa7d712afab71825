package broker

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"keypulse/schema"
)

// try is a [produce] request with one batch that rides on kafka-go's connections (protocol.RawExchanger), which route it to the
// partition's leader.
//
// It is on its way to a connection, which sends it at a time of its own: perhaps only when the lane has given up waiting. Either
// the connection takes it or the lane withdraws it, so that what was not taken was never sent.
type try struct {
	place
	produce
	claim
}

func newTry(topic schema.Topic, partition int32, client string, timeout time.Duration, batch []byte) *try {
	return &try{
		place:   place{topic, partition},
		produce: produce{topic: topic, client: client, timeout: timeout, parts: []part{{partition: partition, batch: batch}}},
	}
}

// ApiKey is part of kafka-go's protocol.Message.
func (t *try) ApiKey() protocol.ApiKey { return protocol.Produce } //nolint:staticcheck // ST1003: the interface's name

// Required says that the request writes itself.
func (t *try) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange sends the batch, if it is still wanted, and reads the answer.
func (t *try) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if !t.take() {
		return nil, errWithdrawn
	}
	return t, t.exchange(rw)
}

// claim decides once whether what was handed to kafka-go is taken by a connection or withdrawn by who handed it over.
type claim struct{ gone atomic.Bool }

var errWithdrawn = errors.New("the request was withdrawn")

// take reports whether it was still wanted.
func (c *claim) take() bool { return c.gone.CompareAndSwap(false, true) }

// withdraw reports whether no connection has taken it; then none will.
func (c *claim) withdraw() bool { return c.gone.CompareAndSwap(false, true) }
