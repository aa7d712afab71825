// Package tally counts how often each rule has held and failed.
//
// The invariant it keeps: a count is a function of the events of the partition so far, in their order, and of the rules, so judging
// the same log again counts the same; and what [Tally.Take] has given out, the last for each rule, adds up to the total. It is pure:
// no clock, no I/O.
//
//	counts := tally.New()
//	t := counts.Tenant("demo")
//	t.Hit("export-burst", 3)
//	told, all := counts.Take(nil, 1<<20)
package tally
