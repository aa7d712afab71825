// Package ingest accepts events over HTTP and writes them to the log.
//
// The invariant it keeps: 201 or 202 means that the log has the event, acknowledged by all in-sync replicas, and the
// answer's id is its place there. When that is not known the answer is 503 with code outcome_unknown.
//
// package decode reads what clients send, ingest.go is the path of a request, verdicts.go knows what the processor has found.
//
//	in := ingest.New(ingest.Config{Client: client, Incarnation: log, RulesRev: book.Rev, Log: logger, Metrics: registry})
//	in.Register(app)
//	err := in.Run(ctx)
package ingest
