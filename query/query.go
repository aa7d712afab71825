package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/internal/httpapi"
	"keypulse/rules"
	"keypulse/schema"
	"keypulse/stream"
)

// Config says what a [Query] reads and how much one request may cost. A zero field with a default takes it.
type Config struct {
	DB   driver.Conn // of package store
	Book *rules.Book // the rules as the log has them; the caller feeds it
	// AppendRule writes a rule's version to the control topic and returns the offset it got, when all in-sync replicas
	// have it. It is called from many goroutines.
	AppendRule func(ctx context.Context, rec schema.RuleRecord) (offset int64, err error)
	// Actions is what people did with alerts; the caller runs [Actions.Follow]. Default: nobody has done anything.
	Actions *Actions
	// AppendAction is AppendRule for an action on an alert.
	AppendAction func(ctx context.Context, rec schema.AlertActionRecord) (offset int64, err error)
	// Keyring is what owners say of their keys; the caller feeds it. Default: nobody has said anything.
	Keyring *Keyring
	// AppendKey is AppendRule for what is said of a key.
	AppendKey func(ctx context.Context, rec schema.KeyRecord) (offset int64, err error)
	// Stream is what GET /api/stream shows; the caller runs it, and ends it before the server is to stop. Without one there
	// is no such path.
	Stream *stream.Hub
	// Notifications are webhooks and silences. Without them there are no such paths.
	Notifications *Notifications
	// NewTicket makes a ticket that opens the stream once, for the API key with an id, and its text.
	NewTicket   func(keyID string, now time.Time) (auth.Ticket, string)
	Incarnation schema.LogRecord // of the log
	// Trial judges events, as rules' tests write them, by one rule as if it were enabled and live. Its error is
	// [rules.Errors] where the events are wrong. It is called from many goroutines.
	Trial func(r rules.Rule, events []byte) ([]Outcome, error)
	// Behind is how long the oldest event has waited that is accepted and not stored yet, 0 when there is none. Default:
	// nobody knows.
	Behind func(ctx context.Context) (time.Duration, error)
	Log    *zap.Logger      // default: none
	Now    func() time.Time // default time.Now

	StatementTimeout time.Duration // for a statement, to its last row; default 10 s
	StreamTimeout    time.Duration // for a list without a limit, to its last byte; default 2 min
	StatementMemory  uint64        // bytes that a statement may hold in the server; default 1 GiB
	Streams          int           // lists without a limit that are sent at the same time, others wait; default 8
	StatsAge         time.Duration // how old the statistics that are shown may be; default 1 s
	// RuleDelay is how long after its acceptance a rule's version judges events; default 2 s, as the rules' reference says.
	RuleDelay time.Duration
	// RuleBudget bounds what a tenant's rules may take for one event: a rule above it is refused. Default rules.DefaultBudget.
	RuleBudget time.Duration
}

func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Actions == nil {
		cfg.Actions = noActions()
	}
	if cfg.Keyring == nil {
		cfg.Keyring = NewKeyring()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.StatementTimeout == 0 {
		cfg.StatementTimeout = 10 * time.Second
	}
	if cfg.StreamTimeout == 0 {
		cfg.StreamTimeout = 2 * time.Minute
	}
	if cfg.StatementMemory == 0 {
		cfg.StatementMemory = 1 << 30
	}
	if cfg.Streams == 0 {
		cfg.Streams = 8
	}
	if cfg.StatsAge == 0 {
		cfg.StatsAge = time.Second
	}
	if cfg.RuleBudget == 0 {
		cfg.RuleBudget = rules.DefaultBudget
	}
	if cfg.RuleDelay == 0 {
		cfg.RuleDelay = 2 * time.Second
	}
	return cfg
}

// Query answers the read side of the API. Its handlers run in any number of goroutines.
type Query struct {
	cfg        Config
	node       string        // tells this node's statements from those of others
	statements atomic.Uint64 // numbers the statements, for their ids
	stats      flights
	spans      *spans
	streams    chan struct{} // holds one element for each list that is being sent without a limit
}

// New makes the read side. It asks nothing of the database yet.
func New(cfg Config) *Query {
	cfg = cfg.withDefaults()
	return &Query{cfg: cfg, node: strconv.FormatUint(rand.Uint64(), 36), spans: newSpans(), streams: make(chan struct{}, cfg.Streams)}
}

// Register puts the routes on app. The statistics are public; the caller names their path, [StatsPath], in
// httpapi.Config.Public.
func (q *Query) Register(app fiber.Router) {
	read, write := httpapi.Require(auth.ScopeRead), httpapi.Require(auth.ScopeRules)
	app.Get("/api/events", read, q.listEvents)
	app.Get("/api/events/:id<regex(^(0|[1-9][0-9]*)$)>", read, q.showEvent)
	if q.cfg.Stream != nil {
		app.Get(httpapi.StreamPath, read, q.showStream)
		app.Post(httpapi.StreamPath+"/tickets", read, q.createTicket)
	}
	app.Get("/api/keys", read, q.listKeys)
	app.Get("/api/keys/:key_id", read, q.showKey)
	app.Put("/api/keys/:key_id", write, q.describeKey)
	app.Get("/api/activity", read, q.showActivity)
	app.Get(StatsPath, q.showStats)
	app.Get("/api/alerts", read, q.listAlerts)
	app.Get("/api/alerts/:id", read, q.showAlert)
	for _, action := range []schema.AlertAction{schema.AlertAck, schema.AlertResolve, schema.AlertReopen} {
		app.Post("/api/alerts/:id/"+string(action), write, q.actOnAlert(action))
	}
	app.Get("/api/rules", read, q.listRules)
	app.Post("/api/rules", write, q.createRule)
	app.Post("/api/rules/validate", write, q.validateRule)
	app.Post("/api/rules/trial", write, q.tryRule)
	app.Get("/api/rules/:id", read, q.showRule)
	app.Put("/api/rules/:id", write, q.replaceRule)
	app.Delete("/api/rules/:id", write, q.deleteRule)
	if q.cfg.Notifications != nil {
		q.registerNotifications(app, read, write)
	}
}

// StatsPath is the one path that takes no authentication.
const StatsPath = "/api/stats"

// Check says why the database does not answer, or that the alert actions have not been read, nil when all is well: for
// /readyz.
func (q *Query) Check(ctx context.Context) error {
	if err := q.cfg.DB.Ping(ctx); err != nil {
		return fmt.Errorf("ping clickhouse: %w", err)
	}
	return q.cfg.Actions.check()
}
