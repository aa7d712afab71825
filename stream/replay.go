package stream

import (
	"context"

	"keypulse/internal/judged"
)

const (
	// closeBy is how near a replay must have come to the hub for the rest to wait in the subscriber's queue meanwhile.
	closeBy = 1000
	// maxRounds is after how many targets a replay joins the hub all the same.
	maxRounds = 10
)

// replay reads rows from a position up to where the hub stands, the oldest first, and then joins the hub. It is owned by
// its subscription.
type replay struct {
	hub     *Hub
	from    Position
	at      Position
	target  Position // no partitions: not known yet
	joined  bool     // the hub keeps what follows target
	rounds  int
	sources []*source // by partition
	half    bool      // the row that from is in the middle of comes first
}

// source is one partition of a replay.
type source struct {
	reader *judged.Reader
	rows   []judged.Row // read and not shown
	after  judged.Position
}

func newReplay(h *Hub, from Position) *replay {
	r := &replay{hub: h, from: from, at: Position{Partitions: from.clone().Partitions}, half: from.Sent > 0}
	for i, at := range from.Partitions {
		r.sources = append(r.sources, &source{reader: judged.NewReader(h.cfg.Client, h.cfg.Incarnation, int32(i), at)})
	}
	return r
}

// next returns the next frames, none when the subscription has caught up.
func (r *replay) next(ctx context.Context, s *Subscription) ([]byte, error) {
	var out []byte
	if r.target.Partitions == nil {
		if err := r.await(ctx); err != nil {
			return nil, err
		}
		if behind := r.at.behind(r.target); behind > r.hub.cfg.MaxReplay {
			out = r.skip(s, behind)
		}
	}
	for len(out) < streamChunk {
		partition, err := r.oldest(ctx)
		switch {
		case err != nil && len(out) > 0:
			return out, nil // the next call meets the error again
		case err != nil:
			return nil, err
		case partition >= 0:
			out = r.show(out, s, partition)
		case r.joined:
			return out, nil
		default:
			r.moveTarget(s)
		}
	}
	return out, nil
}

// await waits until the hub is where the replay starts.
func (r *replay) await(ctx context.Context) error {
	for {
		at, moved := r.hub.position()
		if at.reached(r.from) {
			r.target = at
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// streamChunk is about how many bytes of a replay are made at once.
const streamChunk = 64 << 10

// skip gives up what is too far back and goes on where the hub is.
func (r *replay) skip(s *Subscription, behind int64) []byte {
	r.at = r.hub.attach(s)
	r.target, r.joined, r.half = r.at.clone(), true, false
	return Gap{Missed: behind, AtMost: true, Reason: TooFar}.frame(r.at, r.hub.cfg.Incarnation.Base)
}

// moveTarget follows the hub, which has gone on meanwhile, until it is near enough to join.
func (r *replay) moveTarget(s *Subscription) {
	r.rounds++
	r.target, _ = r.hub.position()
	if r.at.behind(r.target) <= closeBy || r.rounds >= maxRounds {
		r.target, r.joined = r.hub.attach(s), true
	}
}

// oldest is the partition whose next row below the target is the oldest; -1 when there is none.
func (r *replay) oldest(ctx context.Context) (int32, error) {
	best := int32(-1)
	for i, source := range r.sources {
		for r.at.Partitions[i].Offset < r.target.Partitions[i].Offset && len(source.rows) == 0 {
			rows, err := source.reader.Next(ctx)
			if err != nil { // a reader that was interrupted may have lost rows on the way
				source.reader = judged.NewReader(r.hub.cfg.Client, r.hub.cfg.Incarnation, int32(i), r.at.Partitions[i])
				return -1, err
			}
			source.rows, source.after = rows, source.reader.Position()
		}
		if r.at.Partitions[i].Offset >= r.target.Partitions[i].Offset {
			continue
		}
		if r.half && int32(i) == r.from.Row {
			return r.from.Row, nil
		}
		if best < 0 || source.rows[0].CreatedAt < r.sources[best].rows[0].CreatedAt {
			best = int32(i)
		}
	}
	return best, nil
}

// show appends the frames of a partition's next row to out.
func (r *replay) show(out []byte, s *Subscription, partition int32) []byte {
	source, place := r.sources[partition], &r.at.Partitions[partition]
	row := &source.rows[0]
	source.rows = source.rows[1:]
	base := r.hub.cfg.Incarnation.Base
	if missed := row.Offset - place.Offset; missed > 0 {
		place.Offset, place.Verdict = min(row.Offset, r.target.Partitions[partition].Offset), source.after.Verdict
		out = append(out, Gap{Missed: missed, AtMost: true, Reason: Expired}.frame(r.at, base)...)
	}
	if row.Offset >= r.target.Partitions[partition].Offset { // the hub shows it
		return out
	}
	after := judged.Position{Offset: row.Offset + 1, Verdict: source.after.Verdict}
	if s.tenant.Owns(row.Tenant) && s.filter.passes(row) {
		all := r.at.frames(row, partition, after, base)
		if r.half && row.Offset == r.from.Partitions[partition].Offset {
			all = all[min(r.from.Sent, len(all)):]
		}
		for _, f := range all {
			out = append(out, f...)
		}
	}
	*place, r.half = after, false
	return out
}
