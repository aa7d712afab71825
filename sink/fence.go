package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"keypulse/internal/broker"
)

// errMembership says that the group did not take a commit: this sink may own nothing any more.
var errMembership = errors.New("prove membership")

// acquire makes this sink the one whose rows ClickHouse takes for the generation's partitions. It commits what is committed
// already, which only a member of the current generation can, before the fence is written, so that a sink that has lost its
// partitions takes it from nobody; and again after it, so that one that lost them in between writes no row: whoever owns them
// now began after that commit was refused, and so its fence came later.
func (s *Sink) acquire(ctx context.Context, generation *broker.Generation, owner uint64, commits []broker.Commit) error {
	if err := commit(ctx, generation, commits); err != nil {
		return err
	}
	ours, err := s.owns(ctx, owner, generation.Partitions)
	if err != nil || ours {
		return err
	}
	var values []string
	for _, p := range generation.Partitions {
		values = append(values, fmt.Sprintf("(%d, %d)", p, owner))
	}
	if err := s.execEach(ctx, "INSERT INTO fence (kafka_partition, owner) VALUES "+strings.Join(values, ", ")); err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	return commit(ctx, generation, commits)
}

func commit(ctx context.Context, generation *broker.Generation, commits []broker.Commit) error {
	if err := generation.Commit(ctx, commits); err != nil {
		return fmt.Errorf("%w: %w", errMembership, err)
	}
	return nil
}

// newOwner draws a sink's number.
func newOwner() uint64 { return rand.Uint64()>>1 + 1 }

// owns says whether the fence has this owner for all of the partitions, on each server.
func (s *Sink) owns(ctx context.Context, owner uint64, partitions []int32) (bool, error) {
	query := fmt.Sprintf("SELECT countIf(joinGet('fence', 'owner', toUInt16(p)) = %d) FROM (SELECT arrayJoin(%s) AS p)", owner, list(partitions))
	for _, server := range s.cfg.Servers {
		var n uint64
		if err := server.QueryRow(s.bounded(ctx), query).Scan(&n); err != nil {
			return false, fmt.Errorf("read fence: %w", err)
		}
		if n != uint64(len(partitions)) {
			return false, nil
		}
	}
	return true, nil
}

// list writes numbers as a ClickHouse array.
func list(partitions []int32) string {
	var parts []string
	for _, p := range partitions {
		parts = append(parts, fmt.Sprint(p))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// kill ends what may still be under way of an intent's INSERTs, whoever sent them, and waits until it has ended.
func (s *Sink) kill(ctx context.Context, in intent) error {
	if err := s.execEach(ctx, fmt.Sprintf("KILL QUERY WHERE startsWith(initial_query_id, '%s/') SYNC", in.name())); err != nil {
		return fmt.Errorf("end what is under way: %w", err)
	}
	return nil
}

// execEach carries out a statement on each server that holds rows.
func (s *Sink) execEach(ctx context.Context, statement string) error {
	for _, server := range s.cfg.Servers {
		if err := server.Exec(s.bounded(ctx), statement); err != nil {
			return err
		}
	}
	return nil
}

// exec carries out a statement that answers with nothing of interest.
func (s *Sink) exec(ctx context.Context, statement string) error {
	return s.cfg.DB.Exec(s.bounded(ctx), statement)
}

// row reads one row.
func (s *Sink) row(ctx context.Context, query string, dest ...any) error {
	return s.cfg.DB.QueryRow(s.bounded(ctx), query).Scan(dest...)
}
