// Package sink stores the log in ClickHouse: each event with its verdict as one row of events, alerts and hits as rows of
// alerts. Materialized views fill the rollups from events. The owner of partition 0 copies people's alert actions, too.
//
// The invariant it keeps: one INSERT is under way at a time, over ranges of the sink's partitions, and what it will write is
// committed to Kafka before it starts (the intent). After any failure the tables are looked at and given only what they lack,
// by a sink that nobody else can write beside (the fence): every event is stored once, in every table. A [Verifier] proves it.
// DESIGN.md says where each crash point leads.
//
//	s := sink.New(sink.Config{Client: client, Incarnation: log, DB: conn, Log: logger, Metrics: registry})
//	err := s.Run(ctx)
package sink
