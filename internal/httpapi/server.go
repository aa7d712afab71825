package httpapi

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"keypulse/internal/auth"
)

// Defaults of a [Config].
const (
	DefaultBodyLimit      = 2 << 20   // bytes of a request's body, also after decompression
	DefaultBodiesLimit    = 256 << 20 // bytes of all bodies
	DefaultMaxConnections = 4096
)

// Config says how a [Server] serves. A zero field takes its default.
type Config struct {
	Log *zap.Logger // default: none
	// AccessLevel is the level of the line that each successful request writes; default info, which is zap's zero.
	// Failures have levels of their own: 401, 403 and 429 are warnings, at most 10 a second, other 4xx info, 5xx errors.
	// What asks /healthz, /readyz and /metrics writes only debug lines.
	AccessLevel zapcore.Level
	// Auth identifies API keys under /api. Without it nobody is known, and Require answers 401.
	Auth *Authenticator
	// Public are the paths whose GET and HEAD take no authentication at all: a key that is sent is not looked at.
	Public []string
	// Sessions lets browsers sign in at [SessionPath], and takes their cookie where a request has no Authorization header.
	Sessions bool
	// Proxies are those in front, whose X-Forwarded-For is believed where tries to sign in are counted: see [ClientAddr].
	Proxies []netip.Prefix
	// Dashboard are the files of the page at /: those of package dashboard. Without it there is nothing at /.
	Dashboard fs.FS
	// UseTicket uses a ticket of the stream, which opens [StreamPath] once; it fails with [auth.ErrTicketUsed] where it was used
	// before. It is called from many goroutines, and bounds its own time. Default: there are no tickets.
	UseTicket func(auth.Ticket) error
	// Refuse says why nothing may be written now (the disk is full), nil when it may. While it says something, every
	// request that Require lets pass and whose method writes is answered 503 storage_full. Requests with the scope
	// ingest are not: ingest refuses them itself, and counts their events. It is called from many goroutines. Default: never.
	Refuse func() error

	BodyLimit  int            // bytes; default DefaultBodyLimit
	BodyLimits map[string]int // bytes, by exact path, for paths that take other than BodyLimit
	// HeaderLimit is the largest request line and headers, in bytes; default 16 KiB. Each connection holds so much.
	HeaderLimit int
	// BodiesLimit bounds the bytes of all bodies in memory, those that are still arriving included. A request whose body
	// does not fit any more is answered 503 overloaded before it is read. Default 256 MiB; at least 4/3 of the most that
	// one body can take.
	BodiesLimit int64
	// MaxConnections bounds the open connections. What comes on further ones is answered 503 overloaded. Default 4096.
	MaxConnections int
	// OverloadHold is how long an answer 503 overloaded is held back. A client that sends again at once, without a look
	// at Retry-After, would otherwise have the node spend on refusals what it needs for the requests that it takes.
	// Default 500 ms.
	OverloadHold time.Duration

	// ReadTimeout is for a whole request, from its first byte; a body of over 64 KiB has that much for itself, and a
	// second more for each 64 KiB that have arrived. Default 15 s.
	ReadTimeout  time.Duration
	IdleTimeout  time.Duration // between two requests of a connection; default 75 s
	WriteTimeout time.Duration // for one write to make progress, not for a whole answer; default 30 s

	// Registry collects the metrics that /metrics shows; default a new one with Go's and the process's own.
	Registry *prometheus.Registry
}

func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = DefaultBodyLimit
	}
	if cfg.Refuse == nil {
		cfg.Refuse = func() error { return nil }
	}
	if cfg.HeaderLimit == 0 {
		cfg.HeaderLimit = 16 << 10
	}
	if cfg.BodiesLimit == 0 {
		cfg.BodiesLimit = DefaultBodiesLimit
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = DefaultMaxConnections
	}
	if cfg.OverloadHold == 0 {
		cfg.OverloadHold = 500 * time.Millisecond
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = 15 * time.Second
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = 75 * time.Second
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 30 * time.Second
	}
	if cfg.Registry == nil {
		cfg.Registry = NewRegistry()
	}
	return cfg
}

// The paths of every server, whatever its routes.
const (
	pathHealthz = "/healthz"
	pathReadyz  = "/readyz"
	pathMetrics = "/metrics"
	pathOpenAPI = "/openapi.json"
	pathDocs    = "/docs"
)

// Server is an HTTP server with the API's manners. Register routes on App before Serve.
type Server struct {
	cfg     Config
	app     *fiber.App
	next    fasthttp.RequestHandler // Fiber's: routing and handlers
	conns   *connSet
	bodies  *budget
	checks  checks
	metrics *metrics
	access  *accessLog
	signIns *auth.Limiter // by address; nil without sessions
}

// New makes a server with /healthz, /readyz, /metrics, /openapi.json and /docs. It listens to nothing yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults()}
	s.bodies = &budget{limit: s.cfg.BodiesLimit}
	s.metrics = newMetrics(s.cfg.Registry)
	s.conns = newConnSet(s.cfg.MaxConnections, s.bodies, s.metrics.overloads.WithLabelValues("closed").Inc)
	s.metrics.watch(s.bodies, s.conns)
	s.access = newAccessLog(s.cfg.Log, s.cfg.AccessLevel, s.metrics.unlogged)
	s.app = fiber.New(s.fiberConfig())
	s.next = s.app.Handler()

	server := s.app.Server()
	server.Handler = s.serve
	server.ErrorHandler = s.serverError
	server.HeaderReceived = s.headerReceived
	server.CloseOnShutdown = true

	s.app.Use(s.noteRoute)
	s.app.Get(pathHealthz, s.healthz)
	s.app.Get(pathReadyz, s.readyz)
	s.app.Get(pathMetrics, s.metrics.handler())
	s.app.Get(pathOpenAPI, s.showOpenAPI)
	s.app.Get(pathDocs, s.showDocs)
	if s.cfg.Sessions {
		s.registerSession()
	}
	if s.cfg.Dashboard != nil {
		s.registerDashboard(s.cfg.Dashboard)
	}
	return s
}

func (s *Server) fiberConfig() fiber.Config {
	return fiber.Config{
		AppName:                      "KeyPulse",
		StrictRouting:                true,
		CaseSensitive:                true,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
		BodyLimit:                    s.cfg.BodyLimit,
		ReadBufferSize:               s.cfg.HeaderLimit,
		ReadTimeout:                  s.cfg.ReadTimeout,
		IdleTimeout:                  s.cfg.IdleTimeout,
		ErrorHandler:                 s.fiberError,
	}
}

// App is where routes are registered. Its handlers return errors (see [Error]) and never write them.
func (s *Server) App() *fiber.App { return s.app }

// Registry is what /metrics shows.
func (s *Server) Registry() *prometheus.Registry { return s.cfg.Registry }

// Serve accepts connections from ln until [Server.Shutdown], and then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.app.Listener(s.conns.listen(ln, s.cfg.WriteTimeout)); err != nil {
		return fmt.Errorf("serve http on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting, closes idle connections, and waits for the requests that run. When ctx ends first, it cuts
// their connections and returns ctx's error. A server that has been shut down serves no more.
func (s *Server) Shutdown(ctx context.Context) error {
	s.conns.stop()
	err := s.app.ShutdownWithContext(ctx)
	s.conns.closeAll()
	if err != nil {
		return fmt.Errorf("shut down http: %w", err)
	}
	return nil
}
