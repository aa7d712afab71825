package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"keypulse/schema"
)

// produceVersion is the version of the Produce request that we speak: one that every broker since Kafka 2.1 understands, and
// whose answer has no more than we read.
const produceVersion = 7

// largeBatch is from where a second write costs less than copying a batch behind its request's head.
const largeBatch = 64 << 10

// produce is a Produce request with a batch for each of some partitions of a topic, acknowledged by all in-sync replicas.
// kafka-go's own copies each batch page by page and learns the request's layout by reflection.
type produce struct {
	topic   schema.Topic
	client  string // client id
	timeout time.Duration
	parts   []part
	buf     []byte // the request on its way out, then its answer; reused
}

// part is what a produce request has for one partition, and what the broker answers about it.
type part struct {
	partition int32
	batch     []byte // begins with its own size

	answered bool
	code     kafka.Error
	offset   int64
}

// outcome is the offset of the part's first record, or why there is none.
func (p *part) outcome() (int64, error) {
	switch {
	case !p.answered:
		return 0, fmt.Errorf("the broker's answer leaves partition %d out", p.partition)
	case p.code != 0:
		return 0, p.code
	case p.offset < 0:
		return 0, fmt.Errorf("broker acknowledged without an offset: %w", kafka.DuplicateSequenceNumber)
	}
	return p.offset, nil
}

// exchange sends the request and reads the answer. After an error nothing is known of any part.
func (p *produce) exchange(rw io.ReadWriter) error {
	if err := p.write(rw); err != nil {
		return err
	}
	var err error
	if p.buf, err = readAnswer(rw, p.buf); err != nil {
		return err
	}
	return p.read(p.buf)
}

func (p *produce) write(w io.Writer) error {
	be := binary.BigEndian
	b := appendHeader(append(p.buf[:0], 0, 0, 0, 0), protocol.Produce, produceVersion, p.client)
	b = be.AppendUint16(b, ^uint16(0)) // transactional id: none
	b = be.AppendUint16(b, ^uint16(0)) // acks: all
	b = be.AppendUint32(b, uint32(p.timeout.Milliseconds()))
	b = be.AppendUint32(b, 1) // topics
	b = appendText(b, string(p.topic))
	b = be.AppendUint32(b, uint32(len(p.parts)))
	size := len(b) - 4
	for i := range p.parts {
		size += 4 + len(p.parts[i].batch)
	}
	be.PutUint32(b, uint32(size))
	for i := range p.parts {
		b = be.AppendUint32(b, uint32(p.parts[i].partition))
		if len(p.parts[i].batch) < largeBatch {
			b = append(b, p.parts[i].batch...)
			continue
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		if _, err := w.Write(p.parts[i].batch); err != nil {
			return err
		}
		b = b[:0]
	}
	p.buf = b
	if len(b) == 0 {
		return nil
	}
	_, err := w.Write(b)
	return err
}

// read reads the answer, which must be about our partitions, each once, in any order.
func (p *produce) read(answer []byte) error {
	in := cursor{b: answer}
	in.skip(4) // correlation id
	for range in.u32() {
		in.skip(int(in.u16())) // topic
		for range in.u32() {
			partition, code, offset := int32(in.u32()), kafka.Error(int16(in.u16())), int64(in.u64())
			in.skip(8 + 8) // log append time, log start offset
			if in.failed {
				return errShort
			}
			part := p.find(partition)
			if part == nil || part.answered {
				return fmt.Errorf("read an answer about partition %d: not expected", partition)
			}
			part.answered, part.code, part.offset = true, code, offset
		}
	}
	if in.failed {
		return errShort
	}
	return nil
}

func (p *produce) find(partition int32) *part {
	for i := range p.parts {
		if p.parts[i].partition == partition {
			return &p.parts[i]
		}
	}
	return nil
}
