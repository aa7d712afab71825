package broker

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"keypulse/schema"
)

// Record is one record of a partition.
type Record struct {
	Partition int32
	Key       []byte
	Value     []byte
	Time      schema.Millis
	Offset    int64 // set by the broker
}

// size bounds the bytes that the record takes in a batch.
func (r *Record) size() int64 { return int64(len(r.Key) + len(r.Value) + recordOverhead) }

// batch is a record batch in Kafka's format v2 (KIP-98), encoded as its records arrive. It starts with the four
// bytes of its own size, as the produce request wants it.
type batch struct {
	buf       []byte
	count     int32
	firstTime schema.Millis
	maxTime   schema.Millis
	runs      []run
	bytes     int64     // of its records, as the producer counts them
	opened    time.Time // when it began to gather
	began     time.Time // when it was first tried
	sealed    bool
	failed    error // what became of a link's try; the lane goes on from there
	// lent: a try of it got no answer, so a connection may still read buf. It must not be used again.
	lent bool
}

// Positions in batch.buf: the size prefix, then the fields of the batch header.
const (
	atSize        = 0
	atBaseOffset  = atSize + 4
	atLength      = atBaseOffset + 8
	atLeaderEpoch = atLength + 4
	atMagic       = atLeaderEpoch + 4
	atCRC         = atMagic + 1
	atAttributes  = atCRC + 4
	atLastDelta   = atAttributes + 2
	atFirstTime   = atLastDelta + 4
	atMaxTime     = atFirstTime + 8
	atProducerID  = atMaxTime + 8
	atEpoch       = atProducerID + 8
	atSequence    = atEpoch + 2
	atCount       = atSequence + 4
	headerSize    = atCount + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordOverhead bounds what a record's framing adds to its key and value.
const recordOverhead = 5 + 1 + 10 + 5 + 5 + 5 + 1

func (b *batch) reset() {
	if cap(b.buf) < headerSize {
		b.buf = make([]byte, headerSize, 4096)
	}
	b.buf = b.buf[:headerSize]
	b.count, b.bytes = 0, 0
	b.sealed, b.failed = false, nil
	clear(b.runs)
	b.runs = b.runs[:0]
}

// append encodes a record at the end of the batch.
func (b *batch) append(r *Record) {
	if b.count == 0 {
		b.firstTime, b.maxTime = r.Time, r.Time
	}
	b.maxTime = max(b.maxTime, r.Time)
	timeDelta := int64(r.Time - b.firstTime)
	size := 1 + varintSize(timeDelta) + varintSize(int64(b.count)) +
		varintSize(int64(len(r.Key))) + len(r.Key) + varintSize(int64(len(r.Value))) + len(r.Value) + 1
	b.buf = binary.AppendVarint(b.buf, int64(size))
	b.buf = append(b.buf, 0) // attributes
	b.buf = binary.AppendVarint(b.buf, timeDelta)
	b.buf = binary.AppendVarint(b.buf, int64(b.count))
	b.buf = binary.AppendVarint(b.buf, int64(len(r.Key)))
	b.buf = append(b.buf, r.Key...)
	b.buf = binary.AppendVarint(b.buf, int64(len(r.Value)))
	b.buf = append(b.buf, r.Value...)
	b.buf = append(b.buf, 0) // headers
	b.count++
}

// seal fills in the header. Afterwards the bytes are final: a repeat must send the same ones.
func (b *batch) seal(producerID int64, epoch int16, sequence int32) {
	b.sealed = true
	put := binary.BigEndian
	put.PutUint32(b.buf[atSize:], uint32(len(b.buf)-atBaseOffset))
	put.PutUint64(b.buf[atBaseOffset:], 0)
	put.PutUint32(b.buf[atLength:], uint32(len(b.buf)-atLeaderEpoch))
	put.PutUint32(b.buf[atLeaderEpoch:], ^uint32(0))
	b.buf[atMagic] = 2
	put.PutUint16(b.buf[atAttributes:], 0)
	put.PutUint32(b.buf[atLastDelta:], uint32(b.count-1))
	put.PutUint64(b.buf[atFirstTime:], uint64(b.firstTime))
	put.PutUint64(b.buf[atMaxTime:], uint64(b.maxTime))
	put.PutUint64(b.buf[atProducerID:], uint64(producerID))
	put.PutUint16(b.buf[atEpoch:], uint16(epoch))
	put.PutUint32(b.buf[atSequence:], uint32(sequence))
	put.PutUint32(b.buf[atCount:], uint32(b.count))
	put.PutUint32(b.buf[atCRC:], crc32.Checksum(b.buf[atAttributes:], castagnoli))
}

func varintSize(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// AppendBatch appends records to b as one record batch, as a partition holds it from offset on: what [DecodeBatches] reads.
func AppendBatch(b []byte, offset int64, records []Record) []byte {
	var batch batch
	batch.reset()
	for i := range records {
		batch.append(&records[i])
	}
	batch.seal(-1, -1, -1)
	binary.BigEndian.PutUint64(batch.buf[atBaseOffset:], uint64(offset))
	return append(b, batch.buf[atBaseOffset:]...)
}
