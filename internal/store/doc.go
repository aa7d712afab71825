// Package store is the door to ClickHouse: it opens connections and keeps the tables at the schema's version.
//
// The invariant it keeps: Migrate can be killed at any point, run again, and run by several nodes at once, and the
// tables end up the same; what was applied once is never applied in another wording.
//
//	conn, err := store.Open(ctx, "clickhouse://user:password@host:9440/keypulse?secure=true&ca_file=/etc/ca.pem")
//	if err != nil { … }
//	defer conn.Close()
//	err = store.Migrate(ctx, conn)
package store
