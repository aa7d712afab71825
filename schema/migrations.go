package schema

import "embed"

// Migrations holds clickhouse/NNNN_name.sql, the statements that make the tables; store.Migrate applies them in the
// order of their numbers. A file that has been released is never changed: what follows is a new file.
//
//go:embed clickhouse/*.sql
var Migrations embed.FS
