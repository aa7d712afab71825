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

// The topics of a log: they begin, and end, together.
var logTopics = []schema.Topic{schema.TopicEvents, schema.TopicVerdicts, schema.TopicState}

// baseStep is what a new log's base is a multiple of, and at least above what is known of the one before: events that it gave
// out and of which nothing is left to tell have ids below. Ids hold 8,000 such steps.
const baseStep = 1 << 30

// EndGroups removes consumer groups, with their commits. It fails when one of them has a member.
func (c *Client) EndGroups(ctx context.Context, groups ...string) error {
	for _, group := range groups {
		err := retry(ctx, func(ctx context.Context) error {
			res, err := c.kafka.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
			if err != nil {
				return err
			}
			if err := res.Errors[group]; err != nil && !errors.Is(err, kafka.GroupIdNotFound) {
				return err
			}
			return nil
		})
		if errors.Is(err, kafka.NonEmptyGroup) {
			return fmt.Errorf("end group %s: somebody is in it: stop all of KeyPulse first", group)
		}
		if err != nil {
			return fmt.Errorf("end group %s: %w", group, err)
		}
	}
	return nil
}

// Reached is above every offset of a log that its topics and the groups' commits know of. Topics that are gone know of none.
func (c *Client) Reached(ctx context.Context, log schema.LogRecord, groups ...string) (offset int64, err error) {
	for _, group := range groups {
		commits, err := c.Committed(ctx, group, schema.TopicEvents, log.Partitions)
		if err != nil {
			return 0, err
		}
		for _, commit := range commits {
			offset = max(offset, commit.Offset)
		}
	}
	for p := range log.Partitions {
		if there, err := c.exists(ctx, schema.TopicEvents); err != nil {
			return 0, err
		} else if there {
			_, end, err := c.Offsets(ctx, schema.TopicEvents, p)
			if err != nil {
				return 0, err
			}
			offset = max(offset, end)
		}
		if there, err := c.exists(ctx, schema.TopicVerdicts); err != nil {
			return 0, err
		} else if there {
			judged, err := c.judgedTo(ctx, p)
			if err != nil {
				return 0, err
			}
			offset = max(offset, judged)
		}
	}
	return offset, nil
}

// exists says whether a topic is there. Brokers that know topics' ids are asked; of others kafka-go knows some seconds later.
func (c *Client) exists(ctx context.Context, topic schema.Topic) (there bool, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		id, err := c.topicID(ctx, topic)
		if there = err == nil; there && id == "" {
			var res *kafka.MetadataResponse
			if res, err = c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{string(topic)}}); err == nil {
				there = len(res.Topics) == 1 && !errors.Is(res.Topics[0].Error, kafka.UnknownTopicOrPartition)
			}
		}
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for topic %s: %w", topic, err)
	}
	return there, nil
}

// NextBase is the base of a log that follows one: above every id that is known, with room for those that are not.
func NextBase(before schema.LogRecord, reached int64) int64 {
	return ((before.Base+reached)/baseStep + 2) * baseStep
}

// StartNewLog removes the topics of the log that is there and makes them anew, with a base above its own. Nobody may use the
// log meanwhile. A run that was killed leaves either the old log, in part, which every role refuses, or the new one.
func (c *Client) StartNewLog(ctx context.Context, cfg TopicConfig, next schema.LogRecord) (schema.LogRecord, error) {
	for _, topic := range logTopics {
		if err := c.deleteTopic(ctx, topic); err != nil {
			return next, err
		}
	}
	log, err := c.recordLog(ctx, next)
	if err != nil {
		return log, err
	}
	if log != next {
		return log, fmt.Errorf("record new log: somebody else has recorded %+v", log)
	}
	return c.EnsureTopics(ctx, cfg)
}

// deleteTopic removes a topic and returns when the cluster has forgotten it.
func (c *Client) deleteTopic(ctx context.Context, topic schema.Topic) error {
	err := retry(ctx, func(ctx context.Context) error {
		res, err := c.kafka.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{string(topic)}})
		if err != nil {
			return err
		}
		if err := res.Errors[string(topic)]; err != nil && !errors.Is(err, kafka.UnknownTopicOrPartition) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	for {
		if there, err := c.exists(ctx, topic); err != nil || !there {
			return err
		}
		if err := pause.For(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("delete topic %s: %w", topic, err)
		}
	}
}
