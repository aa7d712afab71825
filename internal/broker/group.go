package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"keypulse/schema"
)

// Group is a consumer group over one topic.
type Group struct {
	ID    string
	Topic schema.Topic
	Log   *zap.Logger
}

// Generation is this member's share of a topic, until the next rebalance.
type Generation struct {
	Partitions []int32 // rising
	ID         int32
	client     *Client
	group      Group
	memberID   string
}

// Commit is a committed offset of a partition and what the committer noted with it.
type Commit struct {
	Partition int32
	Offset    int64 // -1: none is committed
	Metadata  string
}

// Errors of a membership.
var errFenced = errors.New("another member owns the partition now")

// RunGroup joins the group and calls serve for each generation, with a context that ends with the generation; serve must
// return soon after. An error of serve that is not the generation's end ends RunGroup. It leaves the group when ctx is done.
func (c *Client) RunGroup(ctx context.Context, group Group, serve func(context.Context, *Generation) error) error {
	members, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                group.ID,
		Brokers:           c.cfg.Brokers,
		Dialer:            c.dialer,
		Topics:            []string{string(group.Topic)},
		StartOffset:       kafka.FirstOffset,
		HeartbeatInterval: c.cfg.SessionTimeout / 6,
		SessionTimeout:    c.cfg.SessionTimeout,
		RebalanceTimeout:  c.cfg.SessionTimeout, // a member that dies while it joins holds the others up so long
		JoinGroupBackoff:  200 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", group.ID, err)
	}
	defer members.Close()
	for {
		generation, err := members.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			group.Log.Warn("cannot join the group, trying again", zap.String("group", group.ID), zap.Error(err))
			continue
		}
		if err := c.serve(ctx, group, generation, serve); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// serve runs one generation and returns when it is over.
func (c *Client) serve(ctx context.Context, group Group, generation *kafka.Generation, serve func(context.Context, *Generation) error) error {
	g := &Generation{ID: generation.ID, client: c, group: group, memberID: generation.MemberID}
	for _, a := range generation.Assignments[string(group.Topic)] {
		g.Partitions = append(g.Partitions, int32(a.ID))
	}
	slices.Sort(g.Partitions)
	group.Log.Info("owns partitions", zap.String("group", group.ID), zap.Int32("generation", g.ID), zap.Int32s("partitions", g.Partitions))
	result := make(chan error, 1)
	generation.Start(func(over context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(over, cancel)
		defer stop()
		err := serve(ctx, g)
		if err != nil && (ctx.Err() != nil || errors.Is(err, errFenced)) {
			err = nil
		}
		if err == nil && over.Err() == nil { // a member without work keeps its place until the generation ends
			<-ctx.Done()
		}
		result <- err
	})
	return <-result
}

// Commit records offsets for the group. It fails when the generation is over: then nothing was recorded.
func (g *Generation) Commit(ctx context.Context, commits []Commit) error {
	req := &kafka.OffsetCommitRequest{
		GroupID: g.group.ID, GenerationID: int(g.ID), MemberID: g.memberID,
		Topics: map[string][]kafka.OffsetCommit{},
	}
	topic := string(g.group.Topic)
	for _, c := range commits {
		req.Topics[topic] = append(req.Topics[topic], kafka.OffsetCommit{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata})
	}
	err := retry(ctx, func(ctx context.Context) error {
		res, err := g.client.kafka.OffsetCommit(ctx, req)
		if err != nil {
			return err
		}
		for _, p := range res.Topics[topic] {
			switch {
			case errors.Is(p.Error, kafka.IllegalGeneration), errors.Is(p.Error, kafka.UnknownMemberId), errors.Is(p.Error, kafka.RebalanceInProgress):
				return fmt.Errorf("partition %d: %w: %w", p.Partition, errFenced, p.Error)
			case p.Error != nil:
				return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", g.group.ID, err)
	}
	return nil
}

// Committed returns the group's committed offsets of all of the topic's partitions, in their order: also of those that
// other members own.
func (g *Generation) Committed(ctx context.Context, total int32) ([]Commit, error) {
	return g.client.Committed(ctx, g.group.ID, g.group.Topic, total)
}

// Committed returns a group's committed offsets of a topic's partitions, in their order; none of a group that does not exist.
func (c *Client) Committed(ctx context.Context, group string, of schema.Topic, total int32) ([]Commit, error) {
	topic := string(of)
	var commits []Commit
	partitions := make([]int, total)
	for i := range partitions {
		partitions[i] = i
	}
	err := retry(ctx, func(ctx context.Context) error {
		commits = commits[:0]
		res, err := c.kafka.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
		if err != nil {
			return err
		}
		if errors.Is(res.Error, kafka.GroupIdNotFound) { // nobody has ever joined it
			for _, p := range partitions {
				commits = append(commits, Commit{Partition: int32(p), Offset: -1})
			}
			return nil
		}
		if res.Error != nil {
			return res.Error
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			commits = append(commits, Commit{Partition: int32(p.Partition), Offset: p.CommittedOffset, Metadata: p.Metadata})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read committed offsets of group %s: %w", group, err)
	}
	slices.SortFunc(commits, func(a, b Commit) int { return int(a.Partition - b.Partition) })
	return commits, nil
}
