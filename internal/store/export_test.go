package store

import (
	"context"
	"io/fs"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// MigrateFS is Migrate for other files than the schema's.
func MigrateFS(ctx context.Context, conn driver.Conn, fsys fs.FS) error {
	migrations, err := loadMigrations(fsys, "clickhouse")
	if err != nil {
		return err
	}
	return migrate(ctx, conn, migrations)
}

// Statements returns all statements of the files, in order.
func Statements(fsys fs.FS) ([]string, error) {
	migrations, err := loadMigrations(fsys, "clickhouse")
	var statements []string
	for _, m := range migrations {
		statements = append(statements, m.statements...)
	}
	return statements, err
}

// ClusterStatements returns all statements of the schema's files as a shard gets them.
func ClusterStatements(c Cluster, database string) (statements []string, err error) {
	migrations, err := c.migrations(database)
	for _, m := range migrations {
		statements = append(statements, m.statements...)
	}
	return statements, err
}

// What a server is told of an analyst.
var (
	CreateStatements = Analyst.create
	RevokeStatements = revokeAnalyst
)
