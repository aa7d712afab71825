package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Defaults for what a DSN leaves out.
const (
	// DefaultMaxConns is the largest number of connections of one Open.
	DefaultMaxConns = 8
	// DefaultDialTimeout bounds how long one connection may take to be made, or to become free.
	DefaultDialTimeout = 5 * time.Second
	// DefaultReadTimeout bounds the silence of a server that is working on a statement.
	DefaultReadTimeout = 30 * time.Second
)

// codeUnknownDatabase is the server's error for a database that is not there.
const codeUnknownDatabase = 81

// Option changes how Open connects.
type Option func(*clickhouse.Options)

// MaxConns sets the largest number of connections, idle ones included.
func MaxConns(n int) Option {
	return func(o *clickhouse.Options) { o.MaxOpenConns, o.MaxIdleConns = n, n }
}

// ReadTimeout sets how long the server may be silent while it works on a statement.
func ReadTimeout(d time.Duration) Option {
	return func(o *clickhouse.Options) { o.ReadTimeout = d }
}

// Setting sends a ClickHouse setting with every statement.
func Setting(name string, value any) Option {
	return func(o *clickhouse.Options) { o.Settings[name] = value }
}

// Open connects to the ClickHouse that dsn names and makes its database when it is missing. The DSN is clickhouse-go's
// (clickhouse://user:password@host:port,host:port/database?…) with one parameter more: ca_file, a PEM file of the
// authorities to trust instead of the system's, with secure=true. What the DSN says comes before opts, opts before
// the defaults. An error means that no server answered, or that one refused.
func Open(ctx context.Context, dsn string, opts ...Option) (driver.Conn, error) {
	options, err := parseDSN(dsn, opts)
	if err != nil {
		return nil, err
	}
	return open(ctx, options)
}

func open(ctx context.Context, options *clickhouse.Options) (driver.Conn, error) {
	conn, err := connect(ctx, options)
	var refusal *clickhouse.Exception
	if !errors.As(err, &refusal) || refusal.Code != codeUnknownDatabase {
		return conn, err
	}
	if err := createDatabase(ctx, options); err != nil {
		return nil, err
	}
	return connect(ctx, options)
}

// parseDSN fills what the DSN leaves open, from opts and the defaults.
func parseDSN(dsn string, opts []Option) (*clickhouse.Options, error) {
	caFile, dsn, err := cutCAFile(dsn)
	if err != nil {
		return nil, err
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("parse ClickHouse DSN: %w", err)
	}
	said := *options
	options.MaxOpenConns, options.MaxIdleConns = DefaultMaxConns, DefaultMaxConns
	options.DialTimeout, options.ReadTimeout = DefaultDialTimeout, DefaultReadTimeout
	options.ClientInfo.Products = append(options.ClientInfo.Products, struct{ Name, Version string }{Name: "keypulse"})
	if options.Compression == nil {
		options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	if options.Settings == nil {
		options.Settings = clickhouse.Settings{}
	}
	options.Settings["distributed_foreground_insert"] = 1 // in a cluster, what is acknowledged is stored
	for _, opt := range opts {
		opt(options)
	}
	overrule(options, said)
	if caFile != "" {
		if err := trust(options.TLS, caFile); err != nil {
			return nil, err
		}
	}
	return options, nil
}

// overrule puts back what the DSN said.
func overrule(options *clickhouse.Options, said clickhouse.Options) {
	if said.MaxOpenConns != 0 {
		options.MaxOpenConns = said.MaxOpenConns
		options.MaxIdleConns = min(options.MaxIdleConns, said.MaxOpenConns)
	}
	if said.MaxIdleConns != 0 {
		options.MaxIdleConns = said.MaxIdleConns
	}
	if said.DialTimeout != 0 {
		options.DialTimeout = said.DialTimeout
	}
	if said.ReadTimeout != 0 {
		options.ReadTimeout = said.ReadTimeout
	}
}

// cutCAFile takes ca_file out of the DSN, because clickhouse-go would send it to the server as a setting.
func cutCAFile(dsn string) (caFile, rest string, err error) {
	base, query, found := strings.Cut(dsn, "?")
	if !found {
		return "", dsn, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", fmt.Errorf("parse ClickHouse DSN: %w", err)
	}
	caFile = values.Get("ca_file")
	values.Del("ca_file")
	return caFile, base + "?" + values.Encode(), nil
}

func trust(config *tls.Config, caFile string) error {
	if config == nil {
		return fmt.Errorf("parse ClickHouse DSN: ca_file needs secure=true")
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return fmt.Errorf("read ca_file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read ca_file: no certificate in %s", caFile)
	}
	return nil
}

// connect opens a pool and makes its first connection.
func connect(ctx context.Context, options *clickhouse.Options) (driver.Conn, error) {
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	if err := conn.Ping(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to ClickHouse at %s: %w", strings.Join(options.Addr, ","), err)
	}
	return conn, nil
}

// createDatabase makes the database of options, over a connection to the user's default one.
func createDatabase(ctx context.Context, options *clickhouse.Options) error {
	other := *options
	other.Auth.Database = ""
	conn, err := connect(ctx, &other)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteName(options.Auth.Database)); err != nil {
		return fmt.Errorf("create database %s: %w", options.Auth.Database, err)
	}
	return nil
}

// quoteName makes any text an identifier.
func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}
