package bench

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"time"
)

// Config says what a run sends, how fast, and where to. Start from [DefaultConfig].
type Config struct {
	// URL is the instance's root, http or https, without a path. Default http://127.0.0.1:8080.
	URL string
	// APIKey is the tenant's key, sent as a bearer token; it is in no report. It needs the scope ingest, with Alerts
	// also read and rules. No default.
	APIKey string
	// AllowRemote lets URL name a host that is not this one. Default false.
	AllowRemote bool
	// Events bounds the events of the measured phase; 0 leaves the bound to Duration. Default 0.
	Events int
	// Duration bounds the measured phase; 0 leaves the bound to Events. Default 10 s.
	Duration time.Duration
	// WarmUp is how long the same load runs before anything counts. It ends sooner after a tenth of Events, where
	// Events is set. Default 2 s.
	WarmUp time.Duration
	// Rate is the load of an open loop in events/s, whatever the acks do; 0 is a closed loop, in which each of the
	// Connections sends its next request when its last is acked. Default 1000 events/s.
	Rate float64
	// Keys is how many different keys the events are about, 1 to 10,000,000. Default 10,000.
	Keys int
	// Skew is the exponent of the Zipf distribution of events over keys, 0 (uniform) to 10. Default 1.
	Skew float64
	// Batch is the events of one request, 1 to 100; 1 is a single POST. Default 1.
	Batch int
	// Connections bounds the requests in flight, 1 to 4096. Default 64.
	Connections int
	// Timeout bounds a request, and how long a due one waits for a free connection before it is given up, 1 ms to
	// 5 min. Default 10 s.
	Timeout time.Duration
	// Seed fixes the events. Default 1.
	Seed uint64
	// Async asks for answers before the verdict (Prefer: respond-async). Default false.
	Async bool
	// Alerts makes a rule of the run's own (id bench-<Seed>), which probe events set off, and measures how long
	// their alerts take. The rule is deleted at the end. Default false.
	Alerts bool
	// AlertEvery makes every AlertEvery-th event a probe, with Alerts. At least 1. Default 100.
	AlertEvery int
}

// DefaultConfig returns the defaults: all but the APIKey.
func DefaultConfig() Config {
	return Config{
		URL:         "http://127.0.0.1:8080",
		Duration:    10 * time.Second,
		WarmUp:      2 * time.Second,
		Rate:        1000,
		Keys:        10_000,
		Skew:        1,
		Batch:       1,
		Connections: 64,
		Timeout:     10 * time.Second,
		Seed:        1,
		AlertEvery:  100,
	}
}

// The bounds that [Config.Validate] holds fields to.
const (
	maxEvents      = 1_000_000_000
	maxDuration    = 24 * time.Hour
	maxRate        = 1_000_000
	maxKeys        = 10_000_000
	maxSkew        = 10
	maxBatch       = 100
	maxConnections = 4096
	minTimeout     = time.Millisecond
	maxTimeout     = 5 * time.Minute
)

// Validate returns an error that names the first field that Run would refuse.
func (c *Config) Validate() error {
	if _, err := c.parseURL(); err != nil {
		return invalid("URL", err)
	}
	checks := []struct {
		field string
		ok    bool
		want  string
	}{
		{"APIKey", c.APIKey != "", "must not be empty"},
		{"Events", 0 <= c.Events && c.Events <= maxEvents, fmt.Sprintf("must be 0 to %d", maxEvents)},
		{"Duration", 0 <= c.Duration && c.Duration <= maxDuration, fmt.Sprintf("must be 0 to %v", maxDuration)},
		{"Duration", c.Duration > 0 || c.Events > 0, "must be set when Events is 0: the run has no end"},
		{"WarmUp", 0 <= c.WarmUp && c.WarmUp <= maxDuration, fmt.Sprintf("must be 0 to %v", maxDuration)},
		// NaN fails every comparison, so each bound is one that a good value passes.
		{"Rate", 0 <= c.Rate && c.Rate <= maxRate, fmt.Sprintf("must be 0 to %d events/s", maxRate)},
		{"Rate", c.Rate == 0 || c.plannedEvents() > 0, "must give at least one event in Duration"},
		{"Keys", 1 <= c.Keys && c.Keys <= maxKeys, fmt.Sprintf("must be 1 to %d", maxKeys)},
		{"Skew", 0 <= c.Skew && c.Skew <= maxSkew, fmt.Sprintf("must be 0 to %d", maxSkew)},
		{"Batch", 1 <= c.Batch && c.Batch <= maxBatch, fmt.Sprintf("must be 1 to %d", maxBatch)},
		{"Connections", 1 <= c.Connections && c.Connections <= maxConnections, fmt.Sprintf("must be 1 to %d", maxConnections)},
		{"Timeout", minTimeout <= c.Timeout && c.Timeout <= maxTimeout, fmt.Sprintf("must be %v to %v", minTimeout, maxTimeout)},
		{"AlertEvery", !c.Alerts || c.AlertEvery >= 1, "must be at least 1"},
	}
	for _, check := range checks {
		if !check.ok {
			return invalid(check.field, errors.New(check.want))
		}
	}
	return nil
}

func invalid(field string, cause error) error {
	return fmt.Errorf("validate bench config: %s: %w", field, cause)
}

// parseURL reads URL and holds it to this machine unless AllowRemote: a typing error must not load somebody else's host.
func (c *Config) parseURL() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("cannot be parsed")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must start with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("must name a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, errors.New("must be scheme, host and port alone")
	case !c.AllowRemote && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%s is not this machine's loopback: say --allow-remote to load another host", u.Hostname())
	}
	return u, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Flags declares a flag for every field; what c holds are the defaults.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.URL, "url", c.URL, "root `URL` of the instance")
	// Not a StringVar: usage texts print a default, and this one may come from the environment.
	fs.Func("api-key", "API `key` of the tenant (scope ingest; with --alerts also read and rules)", func(s string) error {
		c.APIKey = s
		return nil
	})
	fs.BoolVar(&c.AllowRemote, "allow-remote", c.AllowRemote, "let --url name another host than this one")
	fs.IntVar(&c.Events, "events", c.Events, "at most so many events in the measured phase (0 = --duration alone)")
	fs.DurationVar(&c.Duration, "duration", c.Duration, "length of the measured phase (0 = --events alone)")
	fs.DurationVar(&c.WarmUp, "warm-up", c.WarmUp, "load before the measured phase, at most a tenth of --events")
	fs.Float64Var(&c.Rate, "rate", c.Rate, "open loop: `events` a second (0 = closed loop, as fast as acks come)")
	fs.IntVar(&c.Keys, "keys", c.Keys, "different keys")
	fs.Float64Var(&c.Skew, "skew", c.Skew, "Zipf exponent of events over keys (0 = uniform)")
	fs.IntVar(&c.Batch, "batch", c.Batch, "events in a request, 1 to 100 (1 = single POST)")
	fs.IntVar(&c.Connections, "connections", c.Connections, "most requests in flight")
	fs.DurationVar(&c.Timeout, "timeout", c.Timeout, "longest time for a request, and for a due one to wait for a connection")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the events")
	fs.BoolVar(&c.Async, "async", c.Async, "answers before the verdict (Prefer: respond-async)")
	fs.BoolVar(&c.Alerts, "alerts", c.Alerts, "make a rule, measure POST to alert, delete the rule")
	fs.IntVar(&c.AlertEvery, "alert-every", c.AlertEvery, "with --alerts, every so many `events` one that raises an alert")
}
