package broker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/pause"
	"keypulse/schema"
)

// ErrOtherLog says that the topic of events is not the one that the log was recorded with, or ends before what is known of
// it. An offset that was given once would be given again, and so would an event's id.
var ErrOtherLog = errors.New("the log was made anew or cut, so that ids would be given a second time: restore its topics, or stop all of KeyPulse and run `keypulse migrate --new-log`")

// missingFor is how long a topic that was there is looked for until it counts as gone: a broker that starts knows none.
const missingFor = 5 * time.Second

// CheckLog makes sure that a log is the one that was recorded, and reaches as far as what was judged of it and what these
// groups have committed.
func (c *Client) CheckLog(ctx context.Context, log schema.LogRecord, groups ...string) error {
	if err := c.checkTopic(ctx, log); err != nil {
		return err
	}
	reached := make([]int64, log.Partitions) // each was the end of its partition at some time
	for _, group := range groups {
		commits, err := c.Committed(ctx, group, schema.TopicEvents, log.Partitions)
		if err != nil {
			return err
		}
		for _, commit := range commits {
			reached[commit.Partition] = max(reached[commit.Partition], commit.Offset)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for p := range log.Partitions {
		g.Go(func() error {
			judged, err := c.judgedTo(ctx, p)
			if err != nil {
				return err
			}
			_, end, err := c.Offsets(ctx, schema.TopicEvents, p)
			if err != nil {
				return err
			}
			if reached := max(reached[p], judged); end < reached {
				return fmt.Errorf("check log: %w (partition %d of %s ends at offset %d, and was judged or stored up to %d)", ErrOtherLog, p, schema.TopicEvents, end, reached)
			}
			return nil
		})
	}
	return g.Wait()
}

// judgedTo is the offset up to which a partition's newest verdict judges.
func (c *Client) judgedTo(ctx context.Context, partition int32) (int64, error) {
	last, found, err := c.ReadLast(ctx, schema.TopicVerdicts, partition)
	if err != nil || !found {
		return 0, err
	}
	verdict, err := schema.DecodeVerdict(last.Value)
	if err != nil {
		return 0, fmt.Errorf("read the newest verdict of partition %d: %w", partition, err)
	}
	return verdict.To, nil
}

// WatchLog checks now and then that the topic of events is still the recorded one, until ctx is done.
func (c *Client) WatchLog(ctx context.Context, log schema.LogRecord, every time.Duration) error {
	for pause.For(ctx, every) == nil {
		if err := c.checkTopic(ctx, log); errors.Is(err, ErrOtherLog) {
			return err
		}
	}
	return nil
}

// checkTopic compares the identity of the topic of events with the recorded one. Where none is recorded, or the brokers know
// none (Kafka before 2.8), it cannot tell.
func (c *Client) checkTopic(ctx context.Context, log schema.LogRecord) error {
	if log.Topic == "" {
		return nil
	}
	for began := time.Now(); ; {
		id, err := c.topicID(ctx, schema.TopicEvents)
		switch {
		case err == nil && id != "" && id != log.Topic:
			return fmt.Errorf("check log: %w (%s is another topic than it was)", ErrOtherLog, schema.TopicEvents)
		case errors.Is(err, kafka.UnknownTopicOrPartition) && time.Since(began) > missingFor:
			return fmt.Errorf("check log: %w (%s is gone)", ErrOtherLog, schema.TopicEvents)
		case !errors.Is(err, kafka.UnknownTopicOrPartition):
			return err
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// metadataVersion is the first version of the Metadata request whose answer has topics' ids (Kafka 2.8).
const metadataVersion = 10

// topicID is the identity that the cluster gave a topic when it was made, "" where it gives none. A topic that is deleted and
// made again has another.
func (c *Client) topicID(ctx context.Context, topic schema.Topic) (id string, err error) {
	versions, err := c.kafka.ApiVersions(ctx, &kafka.ApiVersionsRequest{})
	if err != nil {
		return "", fmt.Errorf("read the id of %s: %w", topic, err)
	}
	for _, api := range versions.ApiKeys {
		if api.ApiKey == int(protocol.Metadata) && api.MaxVersion < metadataVersion {
			return "", nil
		}
	}
	request := &metadata{topic: topic, client: c.cfg.ClientID}
	if _, err = c.transport.RoundTrip(ctx, c.kafka.Addr, request); err == nil {
		id, err = request.id()
	}
	if err != nil {
		return "", fmt.Errorf("read the id of %s: %w", topic, err)
	}
	return id, nil
}

// metadata is a Metadata request for one topic; kafka-go's own has no ids. See fetch for how it rides.
type metadata struct {
	topic  schema.Topic
	client string // client id
	answer kmsg.MetadataResponse
}

// ApiKey is part of kafka-go's protocol.Message.
func (m *metadata) ApiKey() protocol.ApiKey { return protocol.Metadata } //nolint:staticcheck // ST1003: the interface's name

// Required says that the request writes itself.
func (m *metadata) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange writes the request and reads the answer.
func (m *metadata) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(metadataVersion)
	name := string(m.topic)
	request.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	b := kmsg.NewRequestFormatter(kmsg.FormatterClientID(m.client)).AppendRequest(nil, request, 1)
	answer, err := exchange(rw, b, nil)
	if err != nil {
		return nil, err
	}
	in := cursor{b: answer}
	in.skip(4 + 1) // correlation id, no tagged fields
	if in.failed {
		return nil, errShort
	}
	m.answer = kmsg.NewMetadataResponse()
	m.answer.SetVersion(metadataVersion)
	return m, m.answer.ReadFrom(in.b)
}

func (m *metadata) id() (string, error) {
	if len(m.answer.Topics) != 1 {
		return "", kafka.UnknownTopicOrPartition
	}
	topic := m.answer.Topics[0]
	if topic.ErrorCode != 0 {
		return "", kafka.Error(topic.ErrorCode)
	}
	if topic.TopicID == [16]byte{} {
		return "", nil
	}
	return hex.EncodeToString(topic.TopicID[:]), nil
}
