// Package window keeps the windowed aggregates of every key of one partition, as rules.md defines them.
//
// The invariant it keeps: an aggregate's value is a function of the events of its key in the order of the log. While
// a window holds at most 1,000 matching events (for distinct and first_seen: different values) the value is exact;
// beyond that the oldest are merged, and no aggregate of a key takes more than 32 KiB. The package has no clock, no
// I/O, no goroutine: time is the events'. A Store belongs to one goroutine.
//
//	windows := window.New(window.Config{})
//	defer windows.Close()
//	t, values := windows.Observe(set, &event) // t: the event's effective time
//	set.Eval(&event, values, hit)
//
// Only the aggregates that an event touches cost anything; a value is computed when a rule asks for it.
package window
