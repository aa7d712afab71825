package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"keypulse/schema"
)

// fetchVersion is the version of the Fetch request that we speak: the last one without tagged fields, and one that
// every broker since Kafka 2.3 understands.
const fetchVersion = 11

// place is a partition that a request goes to.
type place struct {
	topic     schema.Topic
	partition int32
}

// Broker chooses the partition's leader.
func (p *place) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	topic, ok := cluster.Topics[string(p.topic)]
	if !ok {
		return protocol.Broker{ID: -1}, kafka.UnknownTopicOrPartition
	}
	partition, ok := topic.Partitions[p.partition]
	if !ok {
		return protocol.Broker{ID: -1}, kafka.UnknownTopicOrPartition
	}
	leader, ok := cluster.Brokers[partition.Leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafka.LeaderNotAvailable
	}
	return leader, nil
}

// fetch is a Fetch request for one partition that reads its answer into a buffer of ours, so that records alias the bytes
// that came over the wire: kafka-go's own decoding copies each key and value. It rides on kafka-go's connections
// (protocol.RawExchanger), which route it to the partition's leader.
type fetch struct {
	place
	offset int64
	limit  uint32 // bytes; a first batch that is larger comes all the same
	client string // client id
	buf    []byte // the answer; reused
}

// ApiKey is part of kafka-go's protocol.Message.
func (f *fetch) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:staticcheck // ST1003: the interface's name

// Required says that the request writes itself.
func (f *fetch) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange writes the request and reads the answer into f.buf.
func (f *fetch) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	var err error
	f.buf, err = exchange(rw, f.request(), f.buf)
	return f, err
}

// exchange sends a request, whose first four bytes it fills with its size, and reads the answer into buf, which grows
// as needed.
func exchange(rw io.ReadWriter, request, buf []byte) ([]byte, error) {
	binary.BigEndian.PutUint32(request, uint32(len(request)-4))
	if _, err := rw.Write(request); err != nil {
		return buf, err
	}
	return readAnswer(rw, buf)
}

// readAnswer reads an answer into buf, which grows as needed.
func readAnswer(rw io.Reader, buf []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n > maxAnswer {
		return buf, fmt.Errorf("read an answer of %d bytes: more than %d", n, maxAnswer)
	}
	if cap(buf) < n {
		buf = make([]byte, n, n+n/4)
	}
	buf = buf[:n]
	_, err := io.ReadFull(rw, buf)
	return buf, err
}

// maxAnswer is far above what we ask for: a larger answer is none.
const maxAnswer = 256 << 20

// request encodes the request.
func (f *fetch) request() []byte {
	be := binary.BigEndian
	b := appendHeader(make([]byte, 4, 128), protocol.Fetch, fetchVersion, f.client)
	b = be.AppendUint32(b, ^uint32(0)) // replica id: a consumer
	b = be.AppendUint32(b, uint32(pollWait.Milliseconds()))
	b = be.AppendUint32(b, 1) // min bytes
	b = be.AppendUint32(b, f.limit)
	b = append(b, 0)                   // isolation: read uncommitted; the log is never transactional
	b = be.AppendUint32(b, 0)          // session id
	b = be.AppendUint32(b, ^uint32(0)) // session epoch: no session
	b = be.AppendUint32(b, 1)          // topics
	b = appendText(b, string(f.topic))
	b = be.AppendUint32(b, 1) // partitions
	b = be.AppendUint32(b, uint32(f.partition))
	b = be.AppendUint32(b, ^uint32(0)) // leader epoch: unknown
	b = be.AppendUint64(b, uint64(f.offset))
	b = be.AppendUint64(b, ^uint64(0)) // log start offset: a consumer
	b = be.AppendUint32(b, f.limit)
	b = be.AppendUint32(b, 0) // forgotten topics
	return appendText(b, "")  // rack
}

// appendHeader appends a request's header (v1) to b.
func appendHeader(b []byte, api protocol.ApiKey, version uint16, client string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(api))
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, 1) // correlation id: one request at a time on a connection
	return appendText(b, client)
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

var errShort = errors.New("the answer is cut short")

// batches reads the answer's head and returns the partition's high watermark and its record batches.
func (f *fetch) batches() (highWatermark int64, records []byte, err error) {
	in := cursor{b: f.buf}
	in.skip(4 + 4) // correlation id, throttle time
	if code := kafka.Error(int16(in.u16())); code != 0 {
		return 0, nil, code
	}
	in.skip(4) // session id
	if topics := in.u32(); topics != 1 {
		return 0, nil, fmt.Errorf("fetch: an answer with %d topics", topics)
	}
	in.skip(int(in.u16())) // topic
	if partitions := in.u32(); partitions != 1 {
		return 0, nil, fmt.Errorf("fetch: an answer with %d partitions", partitions)
	}
	in.skip(4) // partition
	code := kafka.Error(int16(in.u16()))
	highWatermark = int64(in.u64())
	in.skip(8 + 8) // last stable offset, log start offset
	if aborted := int32(in.u32()); aborted > 0 {
		in.skip(int(aborted) * 16)
	}
	in.skip(4) // preferred replica
	size := int32(in.u32())
	records = in.take(int(max(size, 0)))
	switch {
	case in.failed:
		return 0, nil, errShort
	case code != 0:
		return 0, nil, code
	}
	return highWatermark, records, nil
}

// DecodeBatches calls each for every record from offset on, in order, with keys and values that alias batches. A batch
// that is cut off at the end, as brokers may send one, is left for the next fetch.
func DecodeBatches(batches []byte, partition int32, offset int64, each func(Record) error) error {
	for len(batches) >= atLeaderEpoch-atBaseOffset {
		length := int(binary.BigEndian.Uint32(batches[atLength-atBaseOffset:]))
		end := atLeaderEpoch - atBaseOffset + length
		if end > len(batches) || end < headerSize-atBaseOffset {
			return nil
		}
		if err := decodeBatch(batches[:end], partition, offset, each); err != nil {
			return err
		}
		batches = batches[end:]
	}
	return nil
}

func decodeBatch(b []byte, partition int32, offset int64, each func(Record) error) error {
	at := func(field int) []byte { return b[field-atBaseOffset:] }
	be := binary.BigEndian
	if magic := at(atMagic)[0]; magic != 2 {
		return fmt.Errorf("decode record batch: format v%d, only v2 is written by Kafka since 0.11", magic)
	}
	base := int64(be.Uint64(at(atBaseOffset)))
	if base+int64(be.Uint32(at(atLastDelta))) < offset {
		return nil
	}
	if crc := be.Uint32(at(atCRC)); crc != crc32.Checksum(at(atAttributes), castagnoli) {
		return fmt.Errorf("decode record batch at offset %d: its checksum is wrong", base)
	}
	attributes := be.Uint16(at(atAttributes))
	if attributes&uint16(protocol.Control) != 0 {
		return fmt.Errorf("decode record batch at offset %d: a transaction's marker; the log must never be transactional", base)
	}
	records := at(headerSize)
	if codec := compress.Compression(attributes & 7).Codec(); codec != nil {
		r := codec.NewReader(bytes.NewReader(records))
		defer r.Close()
		var err error
		if records, err = io.ReadAll(r); err != nil {
			return fmt.Errorf("decompress record batch at offset %d: %w", base, err)
		}
	}
	in := cursor{b: records}
	firstTime := int64(be.Uint64(at(atFirstTime)))
	for range be.Uint32(at(atCount)) {
		record := cursor{b: in.take(int(in.varint()))}
		record.skip(1) // attributes
		r := Record{Partition: partition, Time: schema.Millis(firstTime + record.varint()), Offset: base + record.varint()}
		r.Key = record.take(int(record.varint()))
		r.Value = record.take(int(record.varint()))
		if in.failed || record.failed {
			return fmt.Errorf("decode record batch at offset %d: %w", base, errShort)
		}
		if r.Offset < offset {
			continue
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// cursor reads big-endian fields; a read beyond the end fails it and yields zeros.
type cursor struct {
	b      []byte
	failed bool
}

// take returns the next n bytes, nil for a negative n: an absent key or value.
func (c *cursor) take(n int) []byte {
	if n < 0 {
		return nil
	}
	if n > len(c.b) {
		c.failed = true
		n = len(c.b)
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) skip(n int) { c.take(n) }

func (c *cursor) u16() uint16 {
	if b := c.take(2); len(b) == 2 {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.failed = true
		return 0
	}
	c.b = c.b[n:]
	return v
}
