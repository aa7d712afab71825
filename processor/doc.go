// Package processor judges every event of the log: it evaluates the tenant's rules over the windows of the event's key
// and writes what it found as verdicts.
//
// The invariant it keeps: everything it decides is a function of the log alone. Time is the events'; the rule versions in
// force at an offset are those of the largest rules_rev so far in the partition; every bound is a count. So a replay
// after a crash, on any member of the group, decides the same, and what was already written is not written again.
//
// The order of steps is in partition.go; the decisions themselves, without I/O, in package judge.
//
//	p := processor.New(processor.Config{Client: client, Incarnation: log, Book: book, Log: logger, Metrics: registry})
//	err := p.Run(ctx)
package processor
