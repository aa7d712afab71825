package store

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/schema"
)

// Cluster is servers that share the rows: each has the tables of a shard in the database that is named as the DSN's with _shard
// behind it, made from the same files, and in the DSN's database a Distributed table over each, by the same name. The rows of a
// partition of the log are all on one shard. What has to be done on each server we do ourselves, one server after the other:
// ON CLUSTER would need a Keeper.
type Cluster struct {
	Name       string // in the servers' configuration (remote_servers)
	Replicated bool   // tables are ReplicatedMergeTree; the servers need a Keeper and the macros shard and replica
}

// shardDatabase is where a server has its own rows.
func shardDatabase(database string) string { return database + "_shard" }

// Servers connects to each server of the cluster as the DSN's user, in the database of its shard.
func (c Cluster) Servers(ctx context.Context, dsn string, opts ...Option) (servers []driver.Conn, err error) {
	options, err := parseDSN(dsn, opts)
	if err != nil {
		return nil, err
	}
	addresses, err := c.addresses(ctx, *options)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		own := *options
		own.Addr, own.Auth.Database = []string{address}, shardDatabase(options.Auth.Database)
		server, err := open(ctx, &own)
		if err != nil {
			closeAll(servers)
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

func closeAll(conns []driver.Conn) {
	for _, conn := range conns {
		conn.Close()
	}
}

// addresses asks a server who is in the cluster.
func (c Cluster) addresses(ctx context.Context, options clickhouse.Options) ([]string, error) {
	options.Auth.Database = ""
	conn, err := connect(ctx, &options)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"cluster": c.Name})),
		"SELECT host_name, port FROM system.clusters WHERE cluster = {cluster:String} ORDER BY shard_num, replica_num")
	if err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", c.Name, err)
	}
	defer rows.Close()
	var addresses []string
	for rows.Next() {
		var host string
		var port uint16
		if err := rows.Scan(&host, &port); err != nil {
			return nil, fmt.Errorf("read cluster %s: %w", c.Name, err)
		}
		addresses = append(addresses, net.JoinHostPort(host, strconv.Itoa(int(port))))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", c.Name, err)
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("read cluster %s: the server knows none of this name (remote_servers)", c.Name)
	}
	return addresses, nil
}

// Migrate is [Migrate] on each server of the cluster, and makes the tables over all of them.
func (c Cluster) Migrate(ctx context.Context, dsn string) error {
	options, err := parseDSN(dsn, nil)
	if err != nil {
		return err
	}
	database := options.Auth.Database
	migrations, err := c.migrations(database)
	if err != nil {
		return err
	}
	servers, err := c.Servers(ctx, dsn)
	if err != nil {
		return err
	}
	defer closeAll(servers)
	for _, server := range servers {
		if err := migrate(ctx, server, migrations); err != nil {
			return err
		}
	}
	for _, server := range servers {
		if err := c.distribute(ctx, server, database); err != nil {
			return fmt.Errorf("make the tables over cluster %s: %w", c.Name, err)
		}
	}
	return nil
}

// engine is what a table's statement says of its engine.
var engine = regexp.MustCompile(`(?m)^ENGINE = (\w*)MergeTree(?:\(([^)]*)\))?`)

// migrations are the files, worded for a shard.
func (c Cluster) migrations(database string) ([]migration, error) {
	migrations, err := loadMigrations(schema.Migrations, "clickhouse")
	for i := range migrations {
		m := &migrations[i]
		m.statements = slices.Clone(m.statements)
		for j, statement := range m.statements {
			// A row that comes from another server comes without a database.
			statement = strings.ReplaceAll(statement, "joinGet('fence'", "joinGet('"+shardDatabase(database)+".fence'")
			if c.Replicated {
				statement = replicated(statement)
			}
			m.statements[j] = statement
		}
	}
	return migrations, err
}

// replicated makes a statement's table a replicated one.
func replicated(statement string) string {
	return engine.ReplaceAllStringFunc(statement, func(text string) string {
		parts := engine.FindStringSubmatch(text)
		arguments := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
		if parts[2] != "" {
			arguments += ", " + parts[2]
		}
		return "ENGINE = Replicated" + parts[1] + "MergeTree(" + arguments + ")"
	})
}

// distribute makes, on one server, a table over all shards for each table of its shard, and the views again over those.
func (c Cluster) distribute(ctx context.Context, server driver.Conn, database string) error {
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + quoteName(database)}
	const tables = `SELECT name, engine, sorting_key, create_table_query, name IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'kafka_partition')
		FROM system.tables WHERE database = currentDatabase() AND name != 'schema_migrations' AND (engine LIKE '%MergeTree' OR engine IN ('Null', 'Join', 'View')) ORDER BY engine = 'View', name`
	rows, err := server.Query(ctx, tables)
	if err != nil {
		return err
	}
	defer rows.Close()
	shard := shardDatabase(database)
	for rows.Next() {
		var name, engine, sorting, create string
		var partitioned uint8
		if err := rows.Scan(&name, &engine, &sorting, &create, &partitioned); err != nil {
			return err
		}
		if engine == "View" {
			create = strings.ReplaceAll(strings.Replace(create, "CREATE VIEW", "CREATE OR REPLACE VIEW", 1), shard+".", database+".")
			statements = append(statements, create)
			continue
		}
		key := "kafka_partition" // a partition's rows, and what is counted of them, are on one shard
		if partitioned == 0 {
			key = "sipHash64(" + sorting + ")" // lines that replace each other, too
		}
		statements = append(statements, fmt.Sprintf("CREATE OR REPLACE TABLE %s.%s AS %s.%s ENGINE = Distributed(%s, %s, %s, %s)",
			quoteName(database), quoteName(name), quoteName(shard), quoteName(name), quoteText(c.Name), quoteText(shard), quoteText(name), key))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, statement := range statements {
		if err := server.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
