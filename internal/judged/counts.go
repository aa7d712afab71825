package judged

import "keypulse/schema"

// counts are rules' counts that wait for a row to go with: of verdicts below the position where a reader started, and of verdicts
// whose last event has expired. They are the whole so far, so they are as true with a later row.
type counts map[schema.RuleVersion]schema.RuleCounts

// add takes counts in. A paused processor may have told less after another one had told more.
func (c *counts) add(list []schema.RuleCounts) {
	if len(list) > 0 && *c == nil {
		*c = counts{}
	}
	for _, n := range list {
		if known, ok := (*c)[n.Of()]; !ok || known.Sum() <= n.Sum() {
			(*c)[n.Of()] = n
		}
	}
}

// take returns what waits and the newer counts of list.
func (c *counts) take(list []schema.RuleCounts) []schema.RuleCounts {
	if len(*c) == 0 {
		return list
	}
	c.add(list)
	all := make([]schema.RuleCounts, 0, len(*c))
	for _, n := range *c {
		all = append(all, n)
	}
	*c = nil
	return all
}
