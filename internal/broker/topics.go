package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"keypulse/schema"
)

// TopicConfig says how the topics are made where they do not exist.
type TopicConfig struct {
	Partitions     int32 // of events and verdicts; fixed for the life of a log; 1 to 1,024
	Replicas       int   // -1 = the cluster's default
	RetentionBytes int64 // of each partition of events and verdicts; -1 = no bound
	RetentionMS    int64 // the same by age; -1 = no bound
	MinInSync      int   // min.insync.replicas; 0 = the cluster's default
	// MayBegin says why no first log may begin, where none is recorded; nil: it may.
	MayBegin func(context.Context) error
}

// controlTopics have one partition and keep everything, TopicUses until its readers shorten it.
var controlTopics = []schema.Topic{schema.TopicLog, schema.TopicRules, schema.TopicAPIKeys, schema.TopicKeys, schema.TopicAlertActions, schema.TopicAudit, schema.TopicUses, schema.TopicWebhooks, schema.TopicSilences, schema.TopicSignups}

// briefTopics have one partition and keep an hour.
var briefTopics = []schema.Topic{schema.TopicQuota, schema.TopicTickets}

// maxMessageBytes is what a topic accepts in one batch; a verdict with many alerts is the largest record.
const maxMessageBytes = 8 << 20

// maxClockAhead is how far the clock of an ingest node may be ahead of the broker's: it refuses events with later times.
// Windows, duplicates and retention follow the largest time of a partition, so one wrong clock would end them all early.
// (The embedded broker has the nodes' clock and no such check.)
const maxClockAhead = 5 * time.Second

// EnsureTopics makes the topics that are missing and returns the log's incarnation. An existing log whose number of
// partitions is not the one that it was made with is an error: ids and the order of keys depend on it. So is one whose
// topic of events is another one than it was ([ErrOtherLog]).
func (c *Client) EnsureTopics(ctx context.Context, cfg TopicConfig) (schema.LogRecord, error) {
	if cfg.Partitions < 1 || cfg.Partitions > schema.MaxPartitions {
		return schema.LogRecord{}, fmt.Errorf("create topics: partitions is %d: must be 1 to %d", cfg.Partitions, schema.MaxPartitions)
	}
	if err := c.EnsureControlTopics(ctx, cfg); err != nil {
		return schema.LogRecord{}, err
	}
	log, err := c.ReadLog(ctx)
	if err != nil {
		return log, err
	}
	if err := c.checkTopic(ctx, log); err != nil {
		return log, err
	}
	if log.Version == 0 {
		if cfg.MayBegin != nil {
			if err := cfg.MayBegin(ctx); err != nil {
				return log, fmt.Errorf("begin a log: %w", err)
			}
		}
		// Base 1: no event has the id 0, which means "none" in duplicate_of and is falsy in JavaScript.
		if log, err = c.recordLog(ctx, schema.LogRecord{Version: 1, Partitions: cfg.Partitions, Base: 1}); err != nil {
			return log, err
		}
	}
	settings := map[string]string{
		"cleanup.policy":    "delete",
		"retention.ms":      strconv.FormatInt(cfg.RetentionMS, 10),
		"retention.bytes":   strconv.FormatInt(cfg.RetentionBytes, 10),
		"max.message.bytes": strconv.Itoa(maxMessageBytes),
	}
	partitioned := map[schema.Topic]newTopic{}
	for _, t := range logTopics {
		own := maps.Clone(settings)
		switch t {
		case schema.TopicEvents:
			own["message.timestamp.after.max.ms"] = strconv.FormatInt(maxClockAhead.Milliseconds(), 10)
		case schema.TopicState: // its owner deletes what it needs no more
			own["retention.ms"], own["retention.bytes"] = "-1", "-1"
		default:
		}
		partitioned[t] = newTopic{log.Partitions, own}
	}
	if err := c.createTopics(ctx, cfg, partitioned); err != nil {
		return log, err
	}
	for t := range partitioned {
		if err := c.checkPartitions(ctx, t, log.Partitions); err != nil {
			return log, err
		}
	}
	return c.recordTopic(ctx, log)
}

// EnsureControlTopics makes the topics that are missing and are not the log's own.
func (c *Client) EnsureControlTopics(ctx context.Context, cfg TopicConfig) error {
	topics := map[schema.Topic]newTopic{}
	for _, t := range controlTopics {
		topics[t] = newTopic{1, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}}
	}
	for _, t := range briefTopics {
		topics[t] = newTopic{1, map[string]string{"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "3600000"}}
	}
	// Notices are kept for a week, which is how long a notifier may be away; of the outbox its owner deletes what it needs no more.
	topics[schema.TopicNotices] = newTopic{schema.NoticePartitions, map[string]string{"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1"}}
	topics[schema.TopicOutbox] = newTopic{schema.NoticePartitions, map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": strconv.Itoa(maxMessageBytes),
	}}
	return c.createTopics(ctx, cfg, topics)
}

// recordTopic notes the identity of the topic of events, where that is not done yet: from then on another one is refused.
func (c *Client) recordTopic(ctx context.Context, log schema.LogRecord) (schema.LogRecord, error) {
	if log.Topic != "" {
		return log, nil
	}
	next := log
	next.Version++
	err := retry(ctx, func(ctx context.Context) (err error) {
		next.Topic, err = c.topicID(ctx, schema.TopicEvents)
		return err
	})
	if err != nil || next.Topic == "" {
		return log, err
	}
	return c.recordLog(ctx, next)
}

// newTopic is how a topic is made where it does not exist.
type newTopic struct {
	partitions int32
	settings   map[string]string
}

// createTopics makes those of the topics that do not exist, all in one request: at each start of a node it is on the way to its
// first event.
func (c *Client) createTopics(ctx context.Context, cfg TopicConfig, topics map[schema.Topic]newTopic) error {
	req := &kafka.CreateTopicsRequest{}
	for topic, how := range topics {
		t := kafka.TopicConfig{Topic: string(topic), NumPartitions: int(how.partitions), ReplicationFactor: cfg.Replicas}
		for name, value := range how.settings {
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		if cfg.MinInSync > 0 {
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(cfg.MinInSync)})
		}
		req.Topics = append(req.Topics, t)
	}
	return retry(ctx, func(ctx context.Context) error {
		res, err := c.kafka.CreateTopics(ctx, req)
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		for _, t := range req.Topics {
			if err := res.Errors[t.Topic]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return fmt.Errorf("create topic %s: %w", t.Topic, err)
			}
		}
		return nil
	})
}

func (c *Client) checkPartitions(ctx context.Context, topic schema.Topic, want int32) error {
	have := 0
	err := retry(ctx, func(ctx context.Context) error {
		res, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{string(topic)}})
		if err != nil {
			return err
		}
		for _, t := range res.Topics {
			if t.Name == string(topic) {
				have = len(t.Partitions)
				return t.Error
			}
		}
		return kafka.UnknownTopicOrPartition
	})
	if err != nil {
		return fmt.Errorf("read metadata of %s: %w", topic, err)
	}
	if have != int(want) {
		return &PartitionsError{topic, have, want}
	}
	return nil
}

// PartitionsError says that a topic of the log has another number of partitions than the log was made with.
type PartitionsError struct {
	Topic schema.Topic
	Have  int
	Want  int32
}

// Error says which topic and both numbers.
func (e *PartitionsError) Error() string {
	return fmt.Sprintf("check log: topic %s has %d partitions, but the log was made with %d, which is fixed for its life", e.Topic, e.Have, e.Want)
}

// ReadLog returns the log's incarnation, version 0 when none is recorded.
func (c *Client) ReadLog(ctx context.Context) (schema.LogRecord, error) {
	var log schema.LogRecord
	var bad error
	err := NewFollower(c, schema.TopicLog, func(r Record) {
		l, err := schema.DecodeControl[schema.LogRecord](r.Value)
		if err != nil {
			bad = err
		} else if l.Version == log.Version+1 {
			log = l
		}
	}).ReadAll(ctx)
	return log, errors.Join(err, bad)
}

// recordLog writes the incarnation and reads back whose record came first.
func (c *Client) recordLog(ctx context.Context, log schema.LogRecord) (schema.LogRecord, error) {
	value, err := json.Marshal(log)
	if err != nil {
		return log, fmt.Errorf("encode log record: %w", err)
	}
	a := NewAppend(c, schema.TopicLog, 0, DefaultProducerConfig())
	if _, err := a.Records(ctx, Record{Key: []byte("log"), Value: value, Time: schema.MillisOf(time.Now())}); err != nil {
		return log, err
	}
	return c.ReadLog(ctx)
}
