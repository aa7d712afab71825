// Package judge decides about the events of one partition: which rules hold, what score an event has, whether a hit raises
// an alert or counts on one, and which event is a duplicate.
//
// The invariant it keeps: a decision is a function of the events so far, in their order, and of the rules. There is no
// clock, no I/O and no goroutine here, so a replay, a second processor and a rule's test decide the same.
//
//	j := judge.New(judge.Config{Book: book, Base: base, Partition: 3})
//	defer j.Close()
//	x, exceptional := j.Event(offset, &event)
package judge
