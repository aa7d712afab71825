package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/schema"
)

// ErrMigrationChanged is wrapped when a file that was applied to the database has another text now.
var ErrMigrationChanged = errors.New("its text has changed since it was applied: put the old text back and write a new file")

// recordTable holds one row for each applied file; two nodes that migrate at once write the same row twice.
const recordTable = `CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32 COMMENT 'The number that the file''s name begins with',
    name String COMMENT 'The name of the file',
    checksum String COMMENT 'SHA-256 of the file''s text, in hex',
    applied_at DateTime64(3, 'UTC') COMMENT 'When all its statements had been carried out'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
COMMENT 'The files of schema/clickhouse that have been applied'`

// Migrate applies the files of schema.Migrations that the database of conn does not have yet. Each statement is
// idempotent and a file is recorded after its last statement, so a run that was killed, or that another node does
// at the same time, does no harm. The error wraps ErrMigrationChanged when an applied file has another text.
func Migrate(ctx context.Context, conn driver.Conn) error {
	migrations, err := loadMigrations(schema.Migrations, "clickhouse")
	if err != nil {
		return err
	}
	return migrate(ctx, conn, migrations)
}

func migrate(ctx context.Context, conn driver.Conn, migrations []migration) error {
	if err := conn.Exec(ctx, recordTable); err != nil {
		return fmt.Errorf("create schema_migrations: %w", err)
	}
	applied, err := readApplied(ctx, conn)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		checksum, done := applied[m.number]
		switch {
		case !done:
			err = m.apply(ctx, conn)
		case checksum != m.checksum:
			err = ErrMigrationChanged
		}
		if err != nil {
			return fmt.Errorf("apply migration %s: %w", m.name, err)
		}
	}
	return nil
}

// readApplied returns the checksums of the applied files by their numbers.
func readApplied(ctx context.Context, conn driver.Conn) (map[uint32]string, error) {
	rows, err := conn.Query(ctx, "SELECT number, checksum FROM schema_migrations FINAL")
	if err != nil {
		return nil, fmt.Errorf("read schema_migrations: %w", err)
	}
	defer rows.Close()
	applied := make(map[uint32]string)
	for rows.Next() {
		var number uint32
		var checksum string
		if err := rows.Scan(&number, &checksum); err != nil {
			return nil, fmt.Errorf("read schema_migrations: %w", err)
		}
		applied[number] = checksum
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read schema_migrations: %w", err)
	}
	return applied, nil
}

// apply carries out every statement of the file and records it.
func (m migration) apply(ctx context.Context, conn driver.Conn) error {
	for i, statement := range m.statements {
		if err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO schema_migrations (number, name, checksum, applied_at)")
	if err != nil {
		return fmt.Errorf("record it: %w", err)
	}
	defer batch.Close()
	if err := batch.Append(m.number, m.name, m.checksum, time.Now()); err != nil {
		return fmt.Errorf("record it: %w", err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("record it: %w", err)
	}
	return nil
}
