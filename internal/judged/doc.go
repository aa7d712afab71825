// Package judged joins the events of the log with their verdicts: what the sink stores and the stream shows.
//
// The invariant it keeps: a [Reader] hands out every event of its partition from its first offset on, once, in order,
// and only when its verdict is known.
//
//	r := judged.NewReader(client, log, 3, judged.Position{Offset: 0})
//	rows, err := r.Next(ctx)
package judged
