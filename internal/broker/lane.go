package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/segmentio/kafka-go"

	"keypulse/internal/pause"
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

// triesInTimeout is how many tries that go unanswered fit into a lane's timeout: a connection that hangs must not
// cost a batch its outcome.
const triesInTimeout = 3

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

	next int64 // what follows the last offset that was acknowledged
}

// deliver sends b until it is acknowledged and returns the offset of its first record. A batch that a link has tried goes
// on from what became of that. It ends with the lane's timeout, not with ctx's cancellation, so that a shutdown never
// leaves an outcome unknown that the broker would still tell.
func (l *lane) deliver(ctx context.Context, b *batch) (int64, error) {
	if !b.sealed {
		b.began = time.Now()
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), b.began.Add(l.timeout))
	defer cancel()
	maybe := false // a try may have reached the log
	for n := 0; ; n++ {
		if !b.sealed {
			if err := l.introduce(ctx, b.count); err != nil {
				return 0, fmt.Errorf("get producer id for %s/%d: %w: %w", l.topic, l.partition, ErrNotWritten, err)
			}
			l.seal(b)
		}
		offset, sent, err := l.send(ctx, b)
		if err == nil {
			return offset, l.acknowledged(b.count, offset)
		}
		var code kafka.Error
		answered := errors.As(err, &code)
		refused := answered && refuses(code)
		maybe = maybe || sent && !refused
		switch {
		case answered && l.fragile && code == kafka.Unknown:
			return 0, fmt.Errorf("produce to %s/%d: %w: %w: %w", l.topic, l.partition, ErrBrokerFailed, ErrOutcomeUnknown, err)
		case answered && lostIdentity(code) && !maybe:
			l.ready, b.sealed = false, false // refused, so these bytes may have another number
		case answered && !retriable(err):
			return 0, l.giveUp(maybe, err)
		}
		if pause.For(ctx, backoff(n)) != nil {
			return 0, l.giveUp(maybe, err)
		}
	}
}

// numbers says whether the lane has numbers for so many more records. They never wrap around: Kafka and the embedded broker
// disagree by one about what follows the largest.
func (l *lane) numbers(records int32) bool { return l.ready && l.sequence <= math.MaxInt32-records }

func (l *lane) seal(b *batch) { b.seal(l.producerID, l.epoch, l.sequence) }

// acknowledged notes where the log has so many records. An offset that was given before is another log's.
func (l *lane) acknowledged(count int32, offset int64) error {
	if offset < l.next {
		return fmt.Errorf("produce to %s/%d: %w (acknowledged at offset %d, after %d): %w", l.topic, l.partition, ErrOtherLog, offset, l.next-1, ErrOutcomeUnknown)
	}
	l.sequence += count
	l.next = offset + int64(count)
	return nil
}

func (l *lane) giveUp(maybe bool, err error) error {
	l.ready = false
	outcome := ErrNotWritten
	if maybe {
		outcome = ErrOutcomeUnknown
	}
	return fmt.Errorf("produce to %s/%d: %w: %w", l.topic, l.partition, outcome, err)
}

// refuses says whether a broker that answers with code has looked at the batch and not appended it. Other codes leave
// doubt: a leader that waits for its replicas and loses its office meanwhile, or its disk, answers as one that never had
// the batch (NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION, KAFKA_STORAGE_ERROR), and a replica may keep it.
func refuses(code kafka.Error) bool {
	switch code {
	case kafka.InvalidMessage, kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTimestamp, kafka.InvalidRecord,
		kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType, kafka.PolicyViolation,
		kafka.InvalidTopic, kafka.InvalidRequiredAcks, kafka.InvalidRequest, kafka.UnsupportedVersion,
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.NotEnoughReplicas, kafka.InvalidTransactionState:
		return true
	}
	return lostIdentity(code)
}

// lostIdentity says whether the broker no longer accepts the lane's producer id or sequence.
func lostIdentity(code kafka.Error) bool {
	switch code {
	case kafka.OutOfOrderSequenceNumber, kafka.InvalidProducerEpoch, kafka.UnknownProducerId, kafka.InvalidProducerIDMapping:
		return true
	}
	return false
}

// introduce makes sure that the lane has a producer id that can number so many more records. Just after its start a broker
// answers with an error inside a good answer and id -1, which it then accepts without idempotence: so both are checked.
func (l *lane) introduce(ctx context.Context, records int32) error {
	if l.numbers(records) {
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

// send tries once, unless a link has just done it. sent says whether the batch may have left for the broker.
func (l *lane) send(ctx context.Context, b *batch) (offset int64, sent bool, err error) {
	if b.failed != nil {
		err, b.failed = b.failed, nil
		return 0, true, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout/triesInTimeout)
	defer cancel()
	t := newTry(l.topic, l.partition, l.client.cfg.ClientID, l.timeout/triesInTimeout, b.buf)
	if _, err := l.client.transport.RoundTrip(ctx, l.client.kafka.Addr, t); err != nil {
		sent = !t.withdraw()
		b.lent = b.lent || sent
		return 0, sent, err
	}
	offset, err = t.parts[0].outcome()
	return offset, true, err
}

// Final reports whether trying again cannot help: the embedded broker has failed, the log is another one, the generation is over, or a record is
// larger than its topic takes.
func Final(err error) bool {
	return errors.Is(err, ErrBrokerFailed) || errors.Is(err, ErrOtherLog) || errors.Is(err, errFenced) ||
		errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge)
}
