package broker

import (
	"context"
	"testing"

	"keypulse/schema"
)

// Renew gives the appender a new producer id whose first record has this number.
func (a *Append) Renew(ctx context.Context, t testing.TB, sequence int32) {
	t.Helper()
	a.lane.ready = false
	if err := a.lane.introduce(ctx, 1); err != nil {
		t.Fatal(err)
	}
	a.lane.sequence = sequence
}

// ProducerID is the id under which the appender has last numbered a batch.
func (a *Append) ProducerID() int64 { return a.lane.producerID }

// Supersede makes the appender number its next batch as a later epoch of other's producer, from 0.
func (a *Append) Supersede(other *Append) {
	a.lane.producerID, a.lane.epoch, a.lane.sequence, a.lane.ready = other.lane.producerID, other.lane.epoch+1, 0, true
}

// DeleteTopic removes a topic, as a cluster's owner may.
func (c *Client) DeleteTopic(ctx context.Context, topic schema.Topic) error {
	return c.deleteTopic(ctx, topic)
}

// CreateTopic makes a topic.
func (c *Client) CreateTopic(ctx context.Context, topic schema.Topic, partitions int32, cfg TopicConfig) error {
	return c.createTopics(ctx, cfg, map[schema.Topic]newTopic{topic: {partitions, nil}})
}
