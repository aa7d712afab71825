// Package dedup finds the events that a client has sent twice.
//
// The invariant it keeps: of the events of one key that carry the same event_id, made by the client, within 24 hours of the
// partition's log time, exactly the first one is first, whoever judges the log and however often. It is pure: no clock, no
// I/O; the bound on what it remembers is a count, the oldest goes first.
//
//	seen := dedup.New(dedup.Config{})
//	first, duplicate := seen.Event(e, offset, logTime)
//	seen.Judged(alerts, score) // of a first event
package dedup
