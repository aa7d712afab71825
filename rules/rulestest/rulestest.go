// Package rulestest has what tests of other packages need of rules.
package rulestest

import (
	"keypulse/rules/internal/fault"
	"keypulse/schema"
)

// Break has the condition of every rule with an id that is compiled from now on fail for the events that on names, as a bug of
// ours would make it; nil ends that.
func Break(ruleID string, on func(*schema.Event) bool) { fault.Set(ruleID, on) }
