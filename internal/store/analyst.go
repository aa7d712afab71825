package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/schema"
)

// Analyst is a user of a ClickHouse server who may read one tenant's rows. Its name is a word of a-z, 0-9 and _.
type Analyst struct {
	Name   string
	Tenant schema.Tenant
	SHA256 string // of the password, in hex
}

// AnalystDatabase is the database of a tenant's views.
func AnalystDatabase(database string, tenant schema.Tenant) string {
	return database + "_" + string(tenant)
}

// CreateAnalyst makes the user on a server, or gives one that exists these rights and this password. It needs a connection
// whose user may manage access.
func CreateAnalyst(ctx context.Context, conn driver.Conn, database string, a Analyst) error {
	return execAll(ctx, conn, "create analyst "+a.Name, a.create(database))
}

// CreateTenantViews makes the views that a tenant's analysts read; its reader must be there.
func CreateTenantViews(ctx context.Context, conn driver.Conn, database string, tenant schema.Tenant) error {
	return execAll(ctx, conn, "create views of "+string(tenant), tenantViews(database, tenant))
}

// RefreshTenantViews makes the views of tenants with analysts anew where they are of an older version.
func RefreshTenantViews(ctx context.Context, conn driver.Conn) error {
	const stale = `SELECT currentDatabase(), database FROM system.columns
		WHERE startsWith(database, concat(currentDatabase(), '_')) AND table IN {views:Array(String)} GROUP BY database
		HAVING count() != (SELECT count() FROM system.columns WHERE database = currentDatabase() AND table IN {views:Array(String)})`
	rows, err := conn.Query(ctx, stale, clickhouse.Named("views", schema.AnalystViews))
	if err != nil {
		return fmt.Errorf("look at tenants' views: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var database, own string
		if err := rows.Scan(&database, &own); err != nil {
			return fmt.Errorf("look at tenants' views: %w", err)
		}
		if err := CreateTenantViews(ctx, conn, database, schema.Tenant(strings.TrimPrefix(own, database+"_"))); err != nil {
			return err
		}
	}
	return rows.Err()
}

// RevokeAnalyst removes the user from a server. The tenant's reader and views stay, for others.
func RevokeAnalyst(ctx context.Context, conn driver.Conn, name string) error {
	return execAll(ctx, conn, "revoke analyst "+name, revokeAnalyst(name))
}

func execAll(ctx context.Context, conn driver.Conn, what string, statements []string) error {
	for _, statement := range statements {
		if err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// readerOf is the user with whose rights a tenant's views read.
func readerOf(tenant schema.Tenant) string { return quoteName("reader_" + string(tenant)) }

// create is the statements that make the analyst. The reader's policies come before its rights, so that no moment shows too
// much.
func (a Analyst) create(database string) []string {
	name, digest, reader := quoteName(a.Name), quoteText(a.SHA256), readerOf(a.Tenant)
	profile, quota := quoteName("keypulse_analyst"), quoteName("keypulse_"+a.Name)
	statements := []string{
		"CREATE SETTINGS PROFILE IF NOT EXISTS " + profile + " SETTINGS readonly = 1, allow_ddl = 0, max_execution_time = 30 MAX 60 CHANGEABLE_IN_READONLY," +
			" max_memory_usage = 1073741824, max_result_rows = 1000000, max_concurrent_queries_for_user = 8",
		"CREATE USER IF NOT EXISTS " + reader + " HOST NONE",
	}
	for _, table := range schema.AnalystTables {
		on := quoteName(database) + "." + quoteName(table)
		statements = append(statements,
			"CREATE ROW POLICY OR REPLACE "+reader+" ON "+on+" FOR SELECT USING tenant = "+quoteText(string(a.Tenant))+" TO "+reader,
			"GRANT SELECT ON "+on+" TO "+reader)
	}
	for _, view := range schema.AnalystViews {
		statements = append(statements, "GRANT SELECT ON "+quoteName(database)+"."+quoteName(view)+" TO "+reader)
	}
	statements = append(statements, tenantViews(database, a.Tenant)...)
	return append(statements,
		"CREATE USER IF NOT EXISTS "+name+" IDENTIFIED WITH sha256_hash BY "+digest+" SETTINGS PROFILE "+profile,
		"ALTER USER "+name+" IDENTIFIED WITH sha256_hash BY "+digest+" SETTINGS PROFILE "+profile,
		"CREATE QUOTA OR REPLACE "+quota+" FOR INTERVAL 1 minute MAX queries = 1000, execution_time = 120 TO "+name,
		"REVOKE ALL ON *.* FROM "+name,
		"GRANT SELECT ON "+quoteName(AnalystDatabase(database, a.Tenant))+".* TO "+name)
}

// tenantViews is the statements that make a tenant's views.
func tenantViews(database string, tenant schema.Tenant) []string {
	own := quoteName(AnalystDatabase(database, tenant))
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + own}
	for _, view := range schema.AnalystViews {
		statements = append(statements, "CREATE OR REPLACE VIEW "+own+"."+quoteName(view)+" DEFINER = "+readerOf(tenant)+
			" SQL SECURITY DEFINER AS SELECT * FROM "+quoteName(database)+"."+quoteName(view))
	}
	return statements
}

func revokeAnalyst(name string) []string {
	return []string{"DROP USER IF EXISTS " + quoteName(name), "DROP QUOTA IF EXISTS " + quoteName("keypulse_"+name)}
}

// quoteText makes any text a string literal.
func quoteText(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(text) + "'"
}
