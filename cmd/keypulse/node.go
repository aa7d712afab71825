package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"keypulse/dashboard"
	"keypulse/ingest"
	"keypulse/internal/admin"
	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/httpapi"
	"keypulse/internal/lastuse"
	"keypulse/internal/pause"
	"keypulse/internal/quota"
	"keypulse/internal/store"
	"keypulse/internal/ticket"
	"keypulse/notify"
	"keypulse/processor"
	"keypulse/processor/trial"
	"keypulse/query"
	"keypulse/rules"
	"keypulse/schema"
	"keypulse/sink"
	"keypulse/stream"
)

// startTimeout bounds how long a process waits for Kafka and ClickHouse when it starts.
const startTimeout = 60 * time.Second

// node is a process that runs one or more roles: what they share, and the order in which all of it starts and stops.
type node struct {
	*stack
	settings    *settings
	dial        func(ctx context.Context, network, address string) (net.Conn, error) // to the embedded broker; nil without it
	client      *broker.Client
	incarnation schema.LogRecord
	book        *rules.Book
	keys        *auth.Table
	registry    *prometheus.Registry
	take        auth.TakeFunc // of the rate limits
	server      *httpapi.Server
	secret      *auth.Secret
	stream      *stream.Hub  // of query; nil without it
	tickets     *ticket.Book // of the stream; nil without it
	webhooks    *notify.Webhooks
	silences    *notify.Silences
	pages       bool          // it serves the dashboard
	dsn         string        // of ClickHouse
	db          driver.Conn   // a pool that all roles share
	servers     []driver.Conn // of a cluster, those that hold the rows
	refuse      func() error  // see ingest.Config
	// mayBegin says why this node may not begin a first log. A node without tables cannot know whether there was one before.
	mayBegin func(context.Context) error
}

// newNode makes a node without parts.
func newNode(ctx context.Context, s *settings) (*node, error) {
	log, err := s.logger()
	if err != nil {
		return nil, err
	}
	log.Info("starting", zap.String("version", version()), zap.String("go", runtime.Version()))
	return &node{stack: newStack(ctx, log), settings: s, book: rules.NewBook(), mayBegin: noLog}, nil
}

// starting is the context of the node's start.
func (n *node) starting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(n.ctx, startTimeout)
}

// errNoLog says that nobody has begun a log yet.
var errNoLog = errors.New("there is no log yet: `keypulse migrate` begins one, and so does a sink or a query node, for they see whether ClickHouse was filled from an earlier one")

func noLog(context.Context) error { return errNoLog }

const (
	// watchLogEvery is how often a node looks whether the log is still the one that it opened.
	watchLogEvery = 2 * time.Second
	// lookForLogEvery is how often a node looks whether somebody has begun a log.
	lookForLogEvery = 200 * time.Millisecond
)

// openLog connects to Kafka, makes the topics that are missing and learns the log's incarnation, which must be one that ids
// can be given from.
func (n *node) openLog() error {
	ctx, cancel := n.starting()
	defer cancel()
	cfg := n.settings.broker()
	cfg.Dial = n.dial
	client, err := broker.Open(cfg)
	if err != nil {
		return err
	}
	n.client = client
	n.onStop("Kafka client", func(context.Context) error {
		client.Close()
		return nil
	})
	topics := n.settings.topics()
	topics.MayBegin = n.mayBegin
	for said := false; ; said = true {
		if n.incarnation, err = client.EnsureTopics(ctx, topics); !errors.Is(err, errNoLog) {
			break
		}
		if !said {
			n.log.Warn("waiting for somebody to begin the log", zap.Error(err))
		}
		if pause.For(ctx, lookForLogEvery) != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := client.CheckLog(ctx, n.incarnation, logGroups...); err != nil {
		return err
	}
	n.start("log", func(ctx context.Context) error { return client.WatchLog(ctx, n.incarnation, watchLogEvery) })
	if n.settings.partitionsGiven && n.settings.Partitions != int(n.incarnation.Partitions) {
		n.log.Info("the log keeps the number of partitions that it was made with", zap.Int32("partitions", n.incarnation.Partitions))
	}
	return nil
}

// checkTables makes sure that the tables were filled from the log that is there: nothing is accepted before.
func (n *node) checkTables() error {
	ctx, cancel := n.starting()
	defer cancel()
	return sink.Verifier{Client: n.client, Incarnation: n.incarnation, DB: n.db}.CheckLog(ctx)
}

// queryConns bounds the statements of query that run at the same time; others wait.
const queryConns = 16

// openDB connects to ClickHouse and applies the migrations.
func (n *node) openDB(dsn string) error {
	ctx, cancel := n.starting()
	defer cancel()
	n.dsn = dsn
	if err := n.migrateTables(ctx, dsn); err != nil {
		return err
	}
	var err error
	if n.db, err = n.openPool(ctx, "ClickHouse client"); err != nil {
		return err
	}
	n.mayBegin = func(ctx context.Context) error { return sink.MayBegin(ctx, n.db) }
	if cluster := n.settings.cluster(); cluster.Name != "" {
		if n.servers, err = cluster.Servers(ctx, dsn); err != nil {
			return err
		}
		n.onStop("ClickHouse clients of the cluster", func(context.Context) error {
			for _, server := range n.servers {
				server.Close()
			}
			return nil
		})
	}
	return nil
}

// migrateTables makes the tables, of one server or of a cluster.
func (n *node) migrateTables(ctx context.Context, dsn string) error {
	if cluster := n.settings.cluster(); cluster.Name != "" {
		return cluster.Migrate(ctx, dsn)
	}
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := store.Migrate(ctx, db); err != nil {
		return err
	}
	if err := store.RefreshTenantViews(ctx, db); err != nil {
		n.log.Warn("analysts' views are of an older version: `keypulse analyst create` makes them anew", zap.Error(err))
	}
	return nil
}

func (n *node) openPool(ctx context.Context, name string, opts ...store.Option) (driver.Conn, error) {
	db, err := store.Open(ctx, n.dsn, opts...)
	if err != nil {
		return nil, err
	}
	n.onStop(name, func(context.Context) error { return db.Close() })
	return db, nil
}

// followRules keeps the book of rules up to date.
func (n *node) followRules() error {
	return n.follow("rules", schema.TopicRules, n.book.Apply)
}

// followKeys keeps the table of API keys up to date.
func (n *node) followKeys(secret *auth.Secret) error {
	n.secret, n.keys = secret, auth.NewTable(secret)
	if err := n.follow("API keys", schema.TopicAPIKeys, n.keys.Apply); err != nil {
		return err
	}
	if err := n.keys.CheckSecret(); err != nil {
		n.log.Error("no API key works: "+auth.ErrOtherSecret.Error(), zap.String("file", n.settings.SecretFile), zap.Error(err))
	}
	if err := n.shareUses(); err != nil {
		return err
	}
	return n.shareQuota()
}

// shareUses has all nodes know when API keys are used, and returns when this one knows what the others do.
func (n *node) shareUses() error {
	u := lastuse.New(lastuse.Config{Client: n.client, Keys: n.keys, Log: n.log.Named("usage")})
	n.start("API keys' uses", u.Run)
	ctx, cancel := n.starting()
	defer cancel()
	select {
	case <-u.Ready():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read when API keys were used: %w", context.Cause(ctx))
	}
}

// shareQuota has the API keys' rate limits count over all nodes, and returns when this one takes part.
func (n *node) shareQuota() error {
	n.registry = httpapi.NewRegistry()
	q := quota.New(quota.Config{Client: n.client, Log: n.log.Named("quota"), Metrics: n.registry})
	n.take = q.Take
	n.start("rate limits", q.Run)
	ctx, cancel := n.starting()
	defer cancel()
	select {
	case <-q.Ready():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("share rate limits: %w", context.Cause(ctx))
	}
}

// checkKeys says why API keys do not work on this node, for /readyz, which shows it to everybody.
func (n *node) checkKeys(context.Context) error {
	if n.keys.CheckSecret() != nil {
		return auth.ErrOtherSecret
	}
	return nil
}

// follow starts to read a control topic into a table and returns when everything in it is applied.
func (n *node) follow(name string, topic schema.Topic, apply func(offset int64, key, value []byte) error) error {
	log := n.log.Named("control")
	f := broker.NewFollower(n.client, topic, func(r broker.Record) {
		if err := apply(r.Offset, r.Key, r.Value); err != nil {
			log.Warn("a control record changes nothing", zap.String("topic", string(topic)), zap.Int64("offset", r.Offset), zap.Error(err))
		}
	})
	n.start(name, f.Run)
	ctx, cancel := n.starting()
	defer cancel()
	select {
	case <-f.Ready():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read %s from %s: %w", name, topic, context.Cause(ctx))
	}
}

// loadSecret reads the secret that all nodes share.
func (n *node) loadSecret() (*auth.Secret, error) {
	secret, err := auth.LoadSecret(n.settings.SecretFile)
	if isNotExist(err) {
		return nil, fmt.Errorf("%w: give every node the same file with --secret-file (`keypulse up` makes one in its data folder)", err)
	}
	return secret, err
}

// newServer makes the HTTP server. Without keys it serves only /healthz, /readyz and /metrics.
func (n *node) newServer() {
	cfg := httpapi.Config{Log: n.log.Named("http"), AccessLevel: zap.DebugLevel, Public: []string{"/api/stats"}, Refuse: n.refuse, Registry: n.registry}
	cfg.Sessions, cfg.UseTicket, cfg.Proxies = n.keys != nil, n.useTicket, n.proxies()
	if n.pages {
		cfg.Dashboard = dashboard.Files()
	}
	cfg.BodyLimits = map[string]int{ingest.BulkPath: ingest.BulkLimit}
	cfg.BodiesLimit, cfg.MaxConnections = n.settings.InFlightMB<<20, n.settings.Connections
	if n.keys != nil {
		cfg.Auth = httpapi.Authenticate(n.keys, n.take, time.Now)
	}
	n.server = httpapi.New(cfg)
	if n.keys != nil {
		n.server.AddCheck("secret", n.checkKeys)
	}
}

// defaultAdminListen is where the admin API is, unless told otherwise.
const defaultAdminListen = "127.0.0.1:8081"

// listenAdmin opens the admin API's address; nil where there is none to be. Where nobody has named its address and the
// usual one is taken, the node goes without: a second installation on a machine must not fail for it.
func (n *node) listenAdmin() (net.Listener, error) {
	address := n.settings.AdminListen
	if address == "off" {
		return nil, nil //nolint:nilnil // no admin API is an answer
	}
	if address == "" {
		address = defaultAdminListen
	}
	l, err := (&net.ListenConfig{}).Listen(n.ctx, "tcp", address)
	if err != nil && n.settings.AdminListen == "" {
		n.log.Warn("there is no admin API: its usual address is taken; name another one with --admin-listen", zap.String("address", address), zap.Error(err))
		return nil, nil //nolint:nilnil // the same
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the admin API: %w", err)
	}
	n.onStop("admin API's address", func(context.Context) error {
		_ = l.Close() // its server has, when it ran
		return nil
	})
	return l, nil
}

// serveAdmin serves the admin API on a listener of its own, nil for none, and to owners who have signed in.
func (n *node) serveAdmin(l net.Listener) {
	if n.settings.AdminListen == "off" {
		return
	}
	log := n.log.Named("admin")
	server := httpapi.New(httpapi.Config{Log: log, Auth: httpapi.Authenticate(n.keys, n.take, time.Now), Refuse: n.refuse, BodiesLimit: 16 << 20})
	a := admin.New(admin.Config{
		Keys: n.keys, Secret: n.secret, Append: n.appendAPIKey, Log: log,
		Audit: func(ctx context.Context, r schema.AuditRecord) error { return appendAudit(ctx, n.client, r) },
	})
	server.Registry().MustRegister(a.Metrics()...)
	a.Register(server.App())
	a.RegisterSessions(n.server.App())
	n.start("audit", a.Run)
	if l != nil {
		n.serveOn("admin API", server, l)
	}
}

// appendAPIKey writes a version of an API key to the log.
func (n *node) appendAPIKey(ctx context.Context, r schema.APIKeyRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicAPIKeys, []byte(r.ID), r)
}

// addIngest runs the ingest role.
func (n *node) addIngest() {
	in := ingest.New(ingest.Config{
		Client: n.client, Incarnation: n.incarnation, Producer: n.settings.producer(), RulesRev: n.book.Rev,
		Refuse: n.refuse, VerdictWait: n.settings.VerdictWait, Log: n.log, Metrics: n.server.Registry(),
	})
	n.start("ingest", in.Run)
	in.Register(n.server.App())
	n.server.AddCheck("ingest", in.Check)
}

// addProcessor runs the processor role.
func (n *node) addProcessor() {
	p := processor.New(processor.Config{
		Client: n.client, Incarnation: n.incarnation, Book: n.book, Producer: n.settings.producer(),
		KeysPerTenant: n.settings.KeysPerTenant, Log: n.log, Metrics: n.server.Registry(),
	})
	n.start("processor", p.Run)
	n.server.AddCheck("processor", p.Check)
}

// addSink runs the sink role.
func (n *node) addSink() {
	s := sink.New(sink.Config{
		Client: n.client, Incarnation: n.incarnation, DB: n.db, Servers: n.servers, Retention: n.settings.EventRetention,
		Log: n.log, Metrics: n.server.Registry(),
	})
	n.start("sink", s.Run)
	n.server.AddCheck("sink", s.Check)
}

// addQuery runs the query role. It has connections of its own, so that clients that read slowly keep no INSERT waiting;
// without them the process stops.
func (n *node) addQuery() {
	ctx, cancel := n.starting()
	defer cancel()
	db, err := n.openPool(ctx, "ClickHouse client of query", store.MaxConns(queryConns))
	if err != nil {
		n.fail(fmt.Errorf("query: %w", err))
		return
	}
	log := n.log.Named("query")
	actions := query.NewActions()
	n.start("alert actions", func(ctx context.Context) error { return actions.Follow(ctx, n.client, n.db, log) })
	keyring := query.NewKeyring()
	if err := n.follow("keys", schema.TopicKeys, keyring.Apply); err != nil {
		n.fail(err)
		return
	}
	n.stream = stream.New(stream.Config{Client: n.client, Incarnation: n.incarnation, Log: n.log, Metrics: n.server.Registry()})
	n.start("stream", n.stream.Run)
	n.tickets = ticket.New(ticket.Config{Client: n.client, Log: n.log.Named("tickets")})
	n.start("tickets", n.tickets.Run)
	q := query.New(query.Config{
		NewTicket: n.keys.NewTicket, Stream: n.stream, Incarnation: n.incarnation, Notifications: n.notifications(),
		DB: db, Book: n.book, RuleBudget: n.settings.RuleBudget, AppendRule: n.appendRule, Actions: actions, AppendAction: n.appendAction,
		Keyring: keyring, AppendKey: n.appendKey,
		Trial: tryRule, Behind: query.NewLag(n.client, db, n.incarnation, time.Now).Behind,
		Log: log, Now: time.Now,
	})
	n.addSignup()
	q.Register(n.server.App())
	n.server.AddCheck("query", q.Check)
}

// tryRule lets query, which knows nothing of the processor, try a rule as the processor would.
func tryRule(r rules.Rule, events []byte) ([]query.Outcome, error) {
	tried, err := trial.Try(r, events)
	if err != nil {
		return nil, err
	}
	outcomes := make([]query.Outcome, len(tried))
	for i, o := range tried {
		outcomes[i] = query.Outcome(o)
	}
	return outcomes, nil
}

// useTicket uses a ticket of the stream. A node without the stream has no use for any.
func (n *node) useTicket(t auth.Ticket) error {
	if n.tickets == nil {
		return auth.ErrTicketUsed
	}
	return n.tickets.Use(context.Background(), t)
}

// appendAction writes what somebody did with an alert to the log.
func (n *node) appendAction(ctx context.Context, r schema.AlertActionRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicAlertActions, schema.RecordKey(r.Tenant, r.AlertID), r)
}

// appendKey writes what an owner says of a key to the log.
func (n *node) appendKey(ctx context.Context, r schema.KeyRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicKeys, schema.RecordKey(r.Tenant, r.KeyID), r)
}

// appendRule writes a version of a rule to the log.
func (n *node) appendRule(ctx context.Context, r schema.RuleRecord) (int64, error) {
	return appendControl(ctx, n.client, schema.TopicRules, schema.RecordKey(r.Tenant, r.ID), r)
}

// listen opens the API's address.
func (n *node) listen() (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(n.ctx, "tcp", n.settings.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	return l, nil
}

// serve answers HTTP on top of all parts: it stops first, when the requests that run have been answered.
func (n *node) serve(l net.Listener) {
	n.serveOn("HTTP server", n.server, l)
	if n.stream != nil {
		n.onStop("open streams", func(context.Context) error {
			n.stream.End()
			return nil
		})
	}
	n.log.Info("listening", zap.Stringer("address", l.Addr()))
}

// serveOn runs an HTTP server until the parts above it have stopped.
func (n *node) serveOn(name string, server *httpapi.Server, l net.Listener) {
	n.start(name, func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout/2)
		defer cancel()
		err := server.Shutdown(deadline)
		return errors.Join(err, <-served)
	})
}
