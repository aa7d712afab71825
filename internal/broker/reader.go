package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"keypulse/internal/pause"
	"keypulse/schema"
)

const (
	// pollWait is how long the broker holds a fetch open when there is nothing to send.
	pollWait = time.Second
	// fetchBytes is the most that one fetch brings.
	fetchBytes = 4 << 20
)

// OffsetGoneError says that a partition no longer holds, or does not yet hold, the offset to be read: retention has
// dropped it, or the log is another one than it was.
type OffsetGoneError struct {
	Topic      schema.Topic
	Partition  int32
	Offset     int64
	First, End int64 // what the partition holds: First to End-1
}

// Error says what was asked for and what there is.
func (e *OffsetGoneError) Error() string {
	return fmt.Sprintf("read %s/%d: offset %d is not there, the partition holds %d to %d", e.Topic, e.Partition, e.Offset, e.First, e.End-1)
}

// Reader reads one partition in order from an offset. One goroutine owns it.
type Reader struct {
	client    *Client
	topic     schema.Topic
	partition int32
	next      int64
	end       int64
	limit     uint32 // bytes of a fetch
	failures  int
	buf       []byte   // the last answer
	records   []Record // of it
}

// NewReader makes a reader whose first record is the one at offset.
func (c *Client) NewReader(topic schema.Topic, partition int32, offset int64) *Reader {
	return &Reader{client: c, topic: topic, partition: partition, next: offset, limit: fetchBytes}
}

// SkipTo makes offset the next one.
func (r *Reader) SkipTo(offset int64) { r.next = offset }

// Limit makes each fetch bring about so many bytes: a batch that is larger comes as a whole all the same.
func (r *Reader) Limit(bytes int) { r.limit = uint32(min(bytes, fetchBytes)) }

// Next is the offset of the next record to come.
func (r *Reader) Next() int64 { return r.next }

// End is the offset after the partition's last record, as of the last fetch.
func (r *Reader) End() int64 { return r.end }

// Fetch returns the next records: none when a second passed without any. They, their keys and values are valid until the
// next call. While the broker does not answer it tries
// again until ctx is done. It fails with an [*OffsetGoneError], or when the broker's data contradict the log's contract
// (a gap between two offsets).
func (r *Reader) Fetch(ctx context.Context) ([]Record, error) {
	for {
		records, err := r.fetch(ctx)
		switch {
		case err == nil:
			r.failures = 0
			return records, nil
		case errors.Is(err, kafka.OffsetOutOfRange):
			first, end, err := r.client.Offsets(ctx, r.topic, r.partition)
			if err != nil {
				return nil, err
			}
			if r.next < first || r.next > end {
				return nil, &OffsetGoneError{r.topic, r.partition, r.next, first, end}
			} // else a new leader did not know yet how far its partition is acknowledged
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errBroken) || !retriable(err):
			return nil, fmt.Errorf("read %s/%d: %w", r.topic, r.partition, err)
		}
		if err := pause.For(ctx, backoff(r.failures)); err != nil {
			return nil, err
		}
		r.failures++
	}
}

// Failing says how many fetches in a row went unanswered.
func (r *Reader) Failing() int { return r.failures }

// What ends a reader: the broker's data contradict the log's contract, and reading again would not mend that.
var (
	errBroken = errors.New("cannot use what the broker holds")
	errGap    = errors.New("the log has a gap")
)

func (r *Reader) fetch(ctx context.Context) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, pollWait+requestTimeout)
	defer cancel()
	request := &fetch{place: place{r.topic, r.partition}, offset: r.next, limit: r.limit, client: r.client.cfg.ClientID, buf: r.buf}
	r.buf = nil // the request's until it has ended: an abandoned one may still be reading
	if _, err := r.client.transport.RoundTrip(ctx, r.client.kafka.Addr, request); err != nil {
		return nil, err
	}
	r.buf = request.buf
	end, batches, err := request.batches()
	if err != nil {
		return nil, err
	}
	r.end = end
	if end < r.next {
		return nil, kafka.OffsetOutOfRange
	}
	clear(r.records)
	r.records = r.records[:0]
	next := r.next
	err = DecodeBatches(batches, r.partition, r.next, func(record Record) error {
		if record.Offset != next {
			return fmt.Errorf("%w: offset %d follows %d", errGap, record.Offset, next-1)
		}
		r.records = append(r.records, record)
		next++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	r.next = next
	return r.records, nil
}

// ReadAt returns the record at an offset.
func (c *Client) ReadAt(ctx context.Context, topic schema.Topic, partition int32, offset int64) (Record, error) {
	r := c.NewReader(topic, partition, offset)
	r.limit = 1
	for {
		records, err := r.Fetch(ctx)
		if err != nil {
			return Record{}, err
		}
		if len(records) > 0 {
			return records[0], nil
		}
	}
}

// ReadLast returns the last record of a partition, false when it holds none.
func (c *Client) ReadLast(ctx context.Context, topic schema.Topic, partition int32) (Record, bool, error) {
	first, end, err := c.Offsets(ctx, topic, partition)
	if err != nil || first == end {
		return Record{}, false, err
	}
	r := c.NewReader(topic, partition, end-1)
	for {
		records, err := r.Fetch(ctx)
		if err != nil {
			return Record{}, false, err
		}
		if n := len(records); n > 0 {
			return records[n-1], true, nil
		}
	}
}
