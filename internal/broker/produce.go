package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// produceVersion is the version of the Produce request that we speak: one that every broker since Kafka 2.1 understands, and
// whose answer has no more than we read.
const produceVersion = 7

// largeBatch is from where a second write costs less than copying a batch behind its request's head.
const largeBatch = 64 << 10

// produce is a Produce request with a batch for one partition, acknowledged by all in-sync replicas: see fetch for how it rides.
// kafka-go's own copies the batch page by page and learns the request's layout by reflection.
//
// It is on its way to a connection, which sends it at a time of its own: perhaps only when the lane has given up waiting. Either
// the connection takes it or the lane withdraws it, so that what was not taken was never sent.
type produce struct {
	place
	client  string // client id
	timeout time.Duration
	batch   []byte      // begins with its own size
	gone    atomic.Bool // taken or withdrawn

	code   kafka.Error
	offset int64
}

var errWithdrawn = errors.New("the batch was withdrawn")

// withdraw reports whether no connection has taken the batch; then none will.
func (p *produce) withdraw() bool { return p.gone.CompareAndSwap(false, true) }

// ApiKey is part of kafka-go's protocol.Message.
func (p *produce) ApiKey() protocol.ApiKey { return protocol.Produce } //nolint:staticcheck // ST1003: the interface's name

// Required says that the request writes itself.
func (p *produce) Required(map[protocol.ApiKey]int16) bool { return true }

// scratch holds a request on its way out, then its answer.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// RawExchange sends the batch, if it is still wanted, and reads the answer.
func (p *produce) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if !p.gone.CompareAndSwap(false, true) {
		return nil, errWithdrawn
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	*buf = p.appendHead((*buf)[:0])
	binary.BigEndian.PutUint32(*buf, uint32(len(*buf)-4+len(p.batch)))
	if len(p.batch) < largeBatch {
		*buf = append(*buf, p.batch...)
	}
	if _, err := rw.Write(*buf); err != nil {
		return nil, err
	}
	if len(p.batch) >= largeBatch {
		if _, err := rw.Write(p.batch); err != nil {
			return nil, err
		}
	}
	var err error
	if *buf, err = readAnswer(rw, *buf); err != nil {
		return nil, err
	}
	return p, p.read(*buf)
}

// appendHead appends the request up to its batch.
func (p *produce) appendHead(b []byte) []byte {
	be := binary.BigEndian
	b = appendHeader(append(b, 0, 0, 0, 0), protocol.Produce, produceVersion, p.client)
	b = be.AppendUint16(b, ^uint16(0)) // transactional id: none
	b = be.AppendUint16(b, ^uint16(0)) // acks: all
	b = be.AppendUint32(b, uint32(p.timeout.Milliseconds()))
	b = be.AppendUint32(b, 1) // topics
	b = appendText(b, string(p.topic))
	b = be.AppendUint32(b, 1) // partitions
	return be.AppendUint32(b, uint32(p.partition))
}

// read reads the answer, which must be about our partition.
func (p *produce) read(answer []byte) error {
	in := cursor{b: answer}
	in.skip(4) // correlation id
	topics := in.u32()
	in.skip(int(in.u16())) // topic
	partitions, partition := in.u32(), in.u32()
	p.code, p.offset = kafka.Error(int16(in.u16())), int64(in.u64())
	if in.failed {
		return errShort
	}
	if topics != 1 || partitions != 1 || partition != uint32(p.partition) {
		return fmt.Errorf("read an answer about %d topics, partition %d: one about partition %d is expected", topics, partition, p.partition)
	}
	return nil
}
