// Package fault lets tests have a rule fail as a bug of ours would make it: a rule that compiles does not fail otherwise.
//
// The invariant it keeps: nothing but package rulestest arms it, and a program that is compiled without a fault pays nothing.
//
//	fault.Set("broken", func(e *schema.Event) bool { return e.Type == "export" })
package fault

import (
	"sync"

	"keypulse/schema"
)

var (
	mu     sync.Mutex // guards faults
	faults = map[string]func(*schema.Event) bool{}
)

// Set has the condition of every rule with an id that is compiled from now on panic for the events that on names; nil ends that.
func Set(ruleID string, on func(*schema.Event) bool) {
	mu.Lock()
	defer mu.Unlock()
	if on == nil {
		delete(faults, ruleID)
		return
	}
	faults[ruleID] = on
}

// Of returns what Set has said of a rule; nil: nothing.
func Of(ruleID string) func(*schema.Event) bool {
	mu.Lock()
	defer mu.Unlock()
	return faults[ruleID]
}
