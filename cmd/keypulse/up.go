package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/engine"
	"keypulse/internal/store"
	"keypulse/schema"
	"keypulse/sink"
)

// minFreeDisk is the free space of the data folder below which nothing is accepted: the embedded broker must never
// find the disk full.
const minFreeDisk = 512 << 20

// runUp runs all roles in one process.
func runUp(ctx context.Context, args []string) error {
	s, rest, err := parseSettings("up", args, nil, allGroups...)
	if err != nil {
		return err
	}
	if err := noArguments("up", rest); err != nil {
		return err
	}
	lock, err := lockData(s.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	n, err := newNode(ctx, s)
	if err != nil {
		return err
	}
	if err := n.up(os.Stdout); err != nil {
		return errors.Join(err, n.stop())
	}
	return n.wait()
}

// lockData makes the data folder and takes it for this process; the lock ends with the process.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data folder: another keypulse uses %s; give this one another folder with --data", dir)
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	return f, nil
}

// up starts everything in the order in which the parts need each other, and tells the user where it is.
func (n *node) up(out io.Writer) error {
	l, err := n.listen()
	if err != nil {
		return err
	}
	adminAPI, err := n.listenAdmin()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	dsn, engineReady, err := n.startEngine()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	n.mayBegin = func(ctx context.Context) error { return n.tablesMayBegin(ctx, dsn, engineReady) }
	apiKey, err := n.startLogAndTables()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	n.pages = true
	n.newServer()
	n.addProcessor()
	n.addIngest()
	n.addNotifier()
	if err := n.startStore(dsn, engineReady); err != nil {
		return errors.Join(err, l.Close())
	}
	n.serveAdmin(adminAPI)
	n.serve(l)
	greet(out, n.settings, apiKey)
	return nil
}

// startEngine starts the embedded ClickHouse, unless a server is given. It does not wait for it: ready does.
func (n *node) startEngine() (dsn string, ready func(context.Context) error, err error) {
	s := n.settings
	if !s.embeddedClickHouse() {
		return s.ClickHouseDSN, func(context.Context) error { return nil }, nil
	}
	e, err := engine.New(engine.Config{
		Dir:          filepath.Join(s.Data, "clickhouse"),
		NativeListen: s.ClickHouseNativeListen, HTTPListen: s.ClickHouseHTTPListen,
		Library: s.ClickHouseLib, Bin: s.ClickHouseBin, FSync: s.FSync, Log: n.log.Named("clickhouse"),
	})
	if err != nil {
		return "", nil, err
	}
	n.start("ClickHouse engine", e.Run)
	return e.DSN(), e.Ready, nil
}

// startBroker starts the embedded broker, unless a cluster is given.
func (n *node) startBroker() error {
	s := n.settings
	if !s.embeddedKafka() {
		return nil
	}
	b, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: filepath.Join(s.Data, "kafka"), Listen: s.KafkaListen, FSync: s.FSync})
	if err != nil {
		return err
	}
	n.dial = b.Dial
	if !isLoopback(s.KafkaListen) {
		n.log.Warn("the embedded Kafka has no authentication: who reaches its address can read events and write API keys", zap.String("address", s.KafkaListen))
	}
	n.onStop("Kafka broker", func(context.Context) error {
		b.Close()
		return nil
	})
	n.start("disk guard", n.guardDisk())
	return nil
}

// startLogAndTables starts the embedded broker, unless a cluster is given, and everything that is kept in memory from
// the log. It returns the first API key when it made one.
func (n *node) startLogAndTables() (apiKey string, err error) {
	s := n.settings
	if err := n.startBroker(); err != nil {
		return "", err
	}
	if err := n.openLog(); err != nil {
		return "", err
	}
	secret, err := auth.CreateSecret(s.SecretFile)
	if errors.Is(err, os.ErrExist) {
		secret, err = auth.LoadSecret(s.SecretFile)
	}
	if err != nil {
		return "", err
	}
	if err := n.followRules(); err != nil {
		return "", err
	}
	if err := n.followKeys(secret); err != nil {
		return "", err
	}
	if err := n.followNotifications(); err != nil {
		return "", err
	}
	if n.keys.Rev() > 0 {
		return "", nil
	}
	return n.firstKey(secret)
}

// isLoopback reports whether only this machine reaches an address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// firstKey makes the tenant demo and its API key.
func (n *node) firstKey(secret *auth.Secret) (string, error) {
	ctx, cancel := n.starting()
	defer cancel()
	record, apiKey := newAPIKey(secret, apiKeyRequest{tenant: "demo", name: "first key", rateLimit: auth.DefaultRateLimit, scopes: auth.DefaultScopes()})
	_, err := putAPIKey(ctx, n.client, n.keys, schema.AuditCreate, record)
	return apiKey, err
}

// startStore waits for ClickHouse and runs the roles that use it.
func (n *node) startStore(dsn string, ready func(context.Context) error) error {
	ctx, cancel := n.starting()
	defer cancel()
	if err := ready(ctx); err != nil {
		return err
	}
	if err := n.openDB(dsn); err != nil {
		return err
	}
	if err := n.checkTables(); err != nil {
		return err
	}
	n.addSink()
	n.addQuery()
	return nil
}

// tablesMayBegin waits for ClickHouse and asks whether its tables have events of a log that is gone. Only a first start does.
func (n *node) tablesMayBegin(ctx context.Context, dsn string, ready func(context.Context) error) error {
	if err := ready(ctx); err != nil {
		return err
	}
	if err := n.migrateTables(ctx, dsn); err != nil {
		return err
	}
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return sink.MayBegin(ctx, db)
}

// guardDisk watches the data folder's free space and refuses events, and what else the API writes, while there is too
// little.
func (n *node) guardDisk() func(context.Context) error {
	var free atomic.Uint64
	look := func() {
		var fs unix.Statfs_t
		if err := unix.Statfs(n.settings.Data, &fs); err == nil {
			free.Store(fs.Bavail * uint64(fs.Bsize))
		}
	}
	look()
	n.refuse = func() error {
		if f := free.Load(); f < minFreeDisk {
			return fmt.Errorf("only %d MiB are free in %s, %d are needed", f>>20, n.settings.Data, minFreeDisk>>20)
		}
		return nil
	}
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				look()
			}
		}
	}
}

// greet tells the user where everything is, and the first API key, which is shown only now.
func greet(out io.Writer, s *settings, apiKey string) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nKeyPulse is up.  API %s   data %s\n", s.url(), s.Data)
	if s.embeddedClickHouse() {
		fmt.Fprintf(&b, "ClickHouse %s (native), http://%s\n", s.ClickHouseNativeListen, s.ClickHouseHTTPListen)
	}
	if apiKey == "" {
		b.WriteString("Another API key: keypulse apikey create --tenant demo --name NAME\n\n")
	} else {
		fmt.Fprintf(&b, "\nThe first API key, of tenant demo, shown only now:\n\n  %s\n\nA first event:\n\n%s\n", apiKey, curl(s, apiKey))
	}
	fmt.Fprint(out, b.String())
}

// curl is a line that posts an event, for a shell.
func curl(s *settings, apiKey string) string {
	return fmt.Sprintf(`  curl -sS %s/api/events -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"key_id":"signing-key-01","event_type":"signing_request","severity":"nominal"}'
`, s.url(), apiKey)
}
