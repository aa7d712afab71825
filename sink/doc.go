// Package sink stores the log in ClickHouse: each event with its verdict as one row of events, alerts and hits as rows of
// alerts. Materialized views fill the rollups from events. The owner of partition 0 copies people's alert actions, too.
//
// The invariant it keeps: one INSERT is under way at a time, over ranges of the sink's partitions; what it will write is
// committed to Kafka before it starts (the intent), so that after a crash the same INSERT is sent again under the same
// deduplication token, and every event is stored once. DESIGN.md says where each crash point leads.
//
//	s := sink.New(sink.Config{Client: client, Incarnation: log, DB: conn, Log: logger, Metrics: registry})
//	err := s.Run(ctx)
package sink
