package sink

import (
	"encoding/json"
	"fmt"
	"slices"

	"keypulse/internal/broker"
)

// span is a range of one partition: offsets From to To-1.
type span struct {
	Partition int32 `json:"p"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	Before    int64 `json:"b"` // where to read verdicts from to have it again
	Verdict   int64 `json:"v"` // where to read verdicts from after it
}

// maxSpans bounds the spans of one INSERT, so that an intent fits the 4,096 bytes that a commit's metadata may have.
const maxSpans = 48

// intent is what one INSERT writes. It is committed as the metadata of each of its partitions, whose committed offset
// stays at From; a commit without metadata says that everything below its offset is stored.
type intent []span

// name is what the INSERT's query ids begin with: a function of its ranges.
func (in intent) name() string {
	b := []byte("keypulse")
	for _, s := range in {
		b = fmt.Appendf(b, "_%d.%d-%d", s.Partition, s.From, s.To)
	}
	return string(b)
}

// rows is how many events the INSERT writes.
func (in intent) rows() (n int64) {
	for _, s := range in {
		n += s.To - s.From
	}
	return n
}

// commits opens the intent and closes those of before that it does not replace.
func (in intent) commits(before intent) ([]broker.Commit, error) {
	metadata, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode intent: %w", err)
	}
	var commits []broker.Commit
	for _, s := range in {
		commits = append(commits, broker.Commit{Partition: s.Partition, Offset: s.From, Metadata: string(metadata)})
	}
	for _, s := range before {
		if !in.has(s.Partition) {
			commits = append(commits, s.done())
		}
	}
	return commits, nil
}

func (in intent) has(partition int32) bool {
	return slices.ContainsFunc(in, func(s span) bool { return s.Partition == partition })
}

// done is the commit that says that the span is stored.
func (s span) done() broker.Commit {
	return broker.Commit{Partition: s.Partition, Offset: s.To, Metadata: fmt.Sprintf(`{"v":%d}`, s.Verdict)}
}

// committed is a partition's commit, understood.
type committed struct {
	offset  int64
	verdict int64
	open    intent // not known to be stored; nil when everything below offset is
}

func parseCommit(c broker.Commit) (committed, error) {
	out := committed{offset: max(c.Offset, 0)}
	if c.Metadata == "" {
		return out, nil
	}
	var err error
	if c.Metadata[0] == '[' {
		err = json.Unmarshal([]byte(c.Metadata), &out.open)
	} else {
		var done struct {
			Verdict int64 `json:"v"`
		}
		err = json.Unmarshal([]byte(c.Metadata), &done)
		out.verdict = done.Verdict
	}
	if err != nil {
		return out, fmt.Errorf("read intent of partition %d: %w", c.Partition, err)
	}
	return out, nil
}
