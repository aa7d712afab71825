package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"keypulse/schema"
)

// Errors of producing. Each says what is known of the records.
var (
	// ErrOutcomeUnknown: the records may be in the log or not; no acknowledgement came in time.
	ErrOutcomeUnknown = errors.New("outcome unknown: no acknowledgement came in time")
	// ErrNotWritten: the records are not in the log.
	ErrNotWritten = errors.New("not written")
	// ErrBusy: the producer's memory is full; the records are not in the log.
	ErrBusy = errors.New("producer is full")
	// ErrBrokerFailed: the embedded broker answered that it could not write. What it acknowledges from then on may not
	// be on disk, so the process must stop.
	ErrBrokerFailed = errors.New("broker cannot write")
)

// lane delivers batches to one partition, one in flight at a time, as an idempotent producer of its own (KIP-98): a
// repeat sends the same bytes, so that the broker can tell it from new ones. A sequence number is never used for other
// bytes: after an outcome that stays unknown the lane takes a new producer id. One goroutine owns it.
type lane struct {
	client    *Client
	topic     schema.Topic
	partition int32
	timeout   time.Duration // from the first try of a batch until its outcome is given up
	fragile   bool          // UNKNOWN_SERVER_ERROR is final: see ErrBrokerFailed

	producerID int64 // meaningless until ready
	epoch      int16
	sequence   int32 // of the next record
	ready      bool
}

// deliver sends b until it is acknowledged and returns the offset of its first record. It ends with the lane's timeout,
// not with ctx's cancellation, so that a shutdown never leaves an outcome unknown that the broker would still tell.
func (l *lane) deliver(ctx context.Context, b *batch) (int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	maybe := false // a try may have reached the log
	sealed := false
	for n := 0; ; n++ {
		if !sealed {
			if err := l.introduce(ctx); err != nil {
				return 0, fmt.Errorf("get producer id for %s/%d: %w: %w", l.topic, l.partition, ErrNotWritten, err)
			}
			b.seal(l.producerID, l.epoch, l.sequence)
			sealed = true
		}
		offset, err := l.send(ctx, b)
		if err == nil {
			l.sequence = int32((int64(l.sequence) + int64(b.count)) & 0x7fffffff)
			return offset, nil
		}
		var code kafka.Error
		answered := errors.As(err, &code)
		maybe = maybe || leavesDoubt(err)
		switch {
		case answered && l.fragile && code == kafka.Unknown:
			return 0, fmt.Errorf("produce to %s/%d: %w: %w", l.topic, l.partition, ErrBrokerFailed, err)
		case answered && lostIdentity(code) && !maybe:
			l.ready, sealed = false, false // refused, so these bytes may have another number
		case answered && !retriable(err):
			return 0, l.giveUp(maybe, err)
		}
		if pause(ctx, backoff(n)) != nil {
			return 0, l.giveUp(maybe, err)
		}
	}
}

func (l *lane) giveUp(maybe bool, err error) error {
	l.ready = false
	outcome := ErrNotWritten
	if maybe {
		outcome = ErrOutcomeUnknown
	}
	return fmt.Errorf("produce to %s/%d: %w: %w", l.topic, l.partition, outcome, err)
}

// leavesDoubt says whether a try that failed with err may have put its records in the log: no answer came, or one
// that says the leader has them but not yet enough replicas.
func leavesDoubt(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		return code == kafka.RequestTimedOut || code == kafka.NotEnoughReplicasAfterAppend || code == kafka.Unknown
	}
	return !neverSent(err)
}

// lostIdentity says whether the broker no longer accepts the lane's producer id or sequence.
func lostIdentity(code kafka.Error) bool {
	switch code {
	case kafka.OutOfOrderSequenceNumber, kafka.InvalidProducerEpoch, kafka.UnknownProducerId, kafka.InvalidProducerIDMapping:
		return true
	}
	return false
}

// introduce makes sure that the lane has a producer id. Just after its start a broker answers with an error inside a
// good answer and id -1, which it then accepts without idempotence: so both are checked.
func (l *lane) introduce(ctx context.Context) error {
	if l.ready {
		return nil
	}
	return retry(ctx, func(ctx context.Context) error {
		res, err := l.client.kafka.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
		if err != nil {
			return err
		}
		if res.Error != nil {
			return res.Error
		}
		if res.Producer == nil || res.Producer.ProducerID < 0 {
			return kafka.BrokerNotAvailable
		}
		l.producerID, l.epoch, l.sequence = int64(res.Producer.ProducerID), int16(res.Producer.ProducerEpoch), 0
		l.ready = true
		return nil
	})
}

func (l *lane) send(ctx context.Context, b *batch) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := l.client.kafka.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic:        string(l.topic),
		Partition:    int(l.partition),
		RequiredAcks: kafka.RequireAll,
		RawRecords:   protocol.RawRecordSet{Reader: bytes.NewReader(b.buf)},
	})
	if err != nil {
		return 0, err
	}
	if res.Error != nil {
		return 0, res.Error
	}
	if res.BaseOffset < 0 {
		return 0, fmt.Errorf("broker acknowledged without an offset: %w", kafka.DuplicateSequenceNumber)
	}
	return res.BaseOffset, nil
}
