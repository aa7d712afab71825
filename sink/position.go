package sink

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/internal/judged"
	"keypulse/internal/pause"
)

// unknownTail is how many events before the last one are looked at in the rollups when no commit says what was under way:
// more than one INSERT can have.
const unknownTail = 1_000_000

// recover takes the generation's partitions over: nobody else writes their rows any more, what earlier owners left open is
// settled, and positions says where to go on. The tables themselves say how far they are. While ClickHouse does not answer
// it tries again.
func (s *Sink) recover(ctx context.Context, generation *broker.Generation) (owner uint64, positions map[int32]judged.Position, err error) {
	owner = newOwner()
	for n := 0; ; n++ {
		positions, err = s.tryRecover(ctx, generation, owner)
		if err == nil || ctx.Err() != nil || errors.Is(err, errMembership) || errors.Is(err, ErrOtherLog) {
			return owner, positions, err
		}
		s.report(err)
		s.log.Warn("cannot take the partitions over, trying again", zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return 0, nil, err
		}
	}
}

func (s *Sink) tryRecover(ctx context.Context, generation *broker.Generation, owner uint64) (map[int32]judged.Position, error) {
	all, err := generation.Committed(ctx, s.cfg.Incarnation.Partitions)
	if err != nil {
		return nil, err
	}
	state := make(map[int32]committed, len(generation.Partitions))
	var own []broker.Commit
	for _, partition := range generation.Partitions {
		c := all[partition]
		c.Offset = max(c.Offset, 0)
		own = append(own, c)
		if state[partition], err = parseCommit(c); err != nil {
			return nil, err
		}
	}
	if err := s.killAll(ctx, state); err != nil { // an INSERT under way may hold the fence's door open
		return nil, err
	}
	if err := s.acquire(ctx, generation, owner, own); err != nil {
		return nil, err
	}
	if err := s.killAll(ctx, state); err != nil {
		return nil, err
	}
	positions := make(map[int32]judged.Position, len(state))
	for partition, c := range state {
		if positions[partition], err = s.position(ctx, owner, partition, c); err != nil {
			return nil, fmt.Errorf("take over partition %d: %w", partition, err)
		}
	}
	return positions, nil
}

// killAll ends what may still be under way of the intents that are open.
func (s *Sink) killAll(ctx context.Context, state map[int32]committed) error {
	for _, c := range state {
		if c.open == nil {
			continue
		}
		if err := s.kill(ctx, c.open); err != nil {
			return err
		}
	}
	return nil
}

// position settles what is open in one partition and says where to go on.
func (s *Sink) position(ctx context.Context, owner uint64, partition int32, c committed) (judged.Position, error) {
	v := s.verifier()
	stored, err := v.stored(s.bounded(ctx), partition)
	if err != nil {
		return judged.Position{}, err
	}
	if err := v.checkPartition(s.bounded(ctx), partition, stored); err != nil {
		return judged.Position{}, err
	}
	at := judged.Position{Offset: c.offset, Verdict: c.verdict}
	open := c.span(partition)
	if open != nil && stored >= open.From {
		blocks, err := s.reread(ctx, intent{*open})
		if err != nil {
			return at, err
		}
		if err := s.settle(ctx, owner, intent{*open}, blocks); err != nil {
			return at, err
		}
		at = judged.Position{Offset: open.To, Verdict: open.Verdict}
		stored = max(stored, open.To)
	}
	switch {
	case stored < at.Offset:
		s.log.Warn("ClickHouse has less than the group's commits say: it is new, or an older copy; going back", zap.Int32("partition", partition),
			zap.Int64("committed", at.Offset), zap.Int64("stored", stored))
		return judged.Position{Offset: stored}, nil
	case stored > at.Offset:
		s.log.Warn("ClickHouse has more than the group's commits say: looking at its end", zap.Int32("partition", partition),
			zap.Int64("committed", at.Offset), zap.Int64("stored", stored))
		tail := intent{{Partition: partition, From: max(at.Offset, stored-unknownTail), To: stored}}
		if _, err := s.fillRollups(ctx, owner, tail); err != nil {
			return at, err
		}
		return judged.Position{Offset: stored, Verdict: at.Verdict}, nil
	}
	return at, nil
}

// span is the part of the open intent that is in a partition, nil when there is none.
func (c committed) span(partition int32) *span {
	for i := range c.open {
		if c.open[i].Partition == partition {
			return &c.open[i]
		}
	}
	return nil
}

// recordLost notes events that the log dropped before they were read: offsets from to to-1.
func (s *Sink) recordLost(ctx context.Context, partition int32, from, to int64) error {
	s.log.Error("events have expired before they were stored", zap.Int32("partition", partition), zap.Int64("from", from), zap.Int64("to", to-1))
	s.metrics.lost.Add(float64(to - from))
	for n := 0; ; n++ {
		err := s.exec(ctx, fmt.Sprintf("INSERT INTO lost (kafka_partition, first_id, last_id) VALUES (%d, %d, %d)", partition, s.id(from, partition), s.id(to-1, partition)))
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.log.Warn("cannot record what is lost, trying again", zap.Error(err))
		if err := pause.For(ctx, retryAfter(n)); err != nil {
			return err
		}
	}
}
