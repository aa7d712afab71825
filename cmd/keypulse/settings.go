package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"keypulse/internal/broker"
	"keypulse/internal/httpapi"
	"keypulse/internal/mail"
	"keypulse/internal/store"
	"keypulse/notify"
	"keypulse/rules"
	"keypulse/sink"
)

// settings are what every command can be told: by flag, by KEYPULSE_* variable, or in a file of such variables, in this
// order. A flag --kafka-listen and a variable KEYPULSE_KAFKA_LISTEN are the same setting.
type settings struct {
	Data   string
	Listen string
	// AdminListen is "" for the usual address, where it is free.
	AdminListen string
	SecretFile  string
	LogLevel    string
	LogFormat   string

	KafkaListen   string
	KafkaBrokers  string
	KafkaTLS      bool
	KafkaCAFile   string
	KafkaSASL     string
	KafkaUser     string
	KafkaPassword string
	Partitions    int
	Replicas      int
	MinInSync     int
	Retention     time.Duration
	RetentionMB   int64
	// partitionsGiven says that somebody has asked for a number of partitions.
	partitionsGiven bool

	ClickHouseDSN          string
	ClickHouseCluster      string
	ClickHouseReplicated   bool
	ClickHouseNativeListen string
	ClickHouseHTTPListen   string
	ClickHouseBin          string
	ClickHouseLib          string

	EventRetention time.Duration // of rows

	WebhookNetworks string
	SMTPAddress     string
	SMTPTLS         string
	SMTPCAFile      string
	SMTPUser        string
	SMTPPassword    string
	MailFrom        string

	Signup        bool
	PublicURL     string
	ProxyNetworks string

	FSync         bool
	VerdictWait   time.Duration
	KeysPerTenant int
	RuleBudget    time.Duration
	InFlightMB    int64
	Connections   int
}

// group is the settings of one concern. A command's -h shows the groups that it uses; every command takes all.
type group struct {
	title   string
	declare func(*settings, *flag.FlagSet)
}

var (
	filesGroup  = group{"files", (*settings).fileFlags}
	apiGroup    = group{"API", (*settings).apiFlags}
	logGroup    = group{"its own log", (*settings).logFlags}
	kafkaGroup  = group{"Kafka", (*settings).kafkaFlags}
	topicsGroup = group{"new topics", (*settings).topicFlags}
	storeGroup  = group{"ClickHouse", (*settings).storeFlags}
	tablesGroup = group{"tables", (*settings).tableFlags}
	engineGroup = group{"embedded ClickHouse", (*settings).engineFlags}
	limitsGroup = group{"limits", (*settings).limitFlags}
	rulesGroup  = group{"rules", (*settings).ruleFlags}
	notifyGroup = group{"notifications", (*settings).notifyFlags}
	signupGroup = group{"sign-up", (*settings).signupFlags}
)

// allGroups are all settings, in the order in which -h and the docs show them.
var allGroups = []group{filesGroup, apiGroup, logGroup, kafkaGroup, topicsGroup, storeGroup, tablesGroup, engineGroup, limitsGroup, rulesGroup, notifyGroup, signupGroup}

// The settings of commands that work beside a running installation.
var (
	adminGroups  = []group{kafkaGroup}
	apiKeyGroups = []group{filesGroup, kafkaGroup}
)

func (s *settings) fileFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.Data, "data", "./data", "`folder` of the embedded log and engine, and of the secret")
	fs.StringVar(&s.SecretFile, "secret-file", "", "`file` with the HMAC secret that all nodes share (default DATA/secret)")
}

func (s *settings) apiFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.Listen, "listen", "127.0.0.1:8080", "`address` of the HTTP API, of health and of metrics")
	fs.StringVar(&s.AdminListen, "admin-listen", "", "`address` of the admin API of up and query, or off (default 127.0.0.1:8081, where that is free)")
}

func (s *settings) logFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.LogLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&s.LogFormat, "log-format", "console", "console or json")
}

func (s *settings) kafkaFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.KafkaListen, "kafka-listen", "127.0.0.1:9092", "`address` of the embedded Kafka")
	fs.StringVar(&s.KafkaBrokers, "kafka-brokers", "", "`host:port,…` of a Kafka cluster to use instead of the embedded one")
	fs.BoolVar(&s.KafkaTLS, "kafka-tls", false, "talk TLS to Kafka")
	fs.StringVar(&s.KafkaCAFile, "kafka-ca-file", "", "PEM `file` that signs the brokers' certificates (default: the system's)")
	fs.StringVar(&s.KafkaSASL, "kafka-sasl", "", "plain, scram-sha-256 or scram-sha-512")
	fs.StringVar(&s.KafkaUser, "kafka-user", "", "SASL user")
	fs.StringVar(&s.KafkaPassword, "kafka-password", "", "SASL password")
}

func (s *settings) topicFlags(fs *flag.FlagSet) {
	fs.IntVar(&s.Partitions, "partitions", 0, "partitions of a new log, fixed for its life (default 8 embedded, else 64)")
	fs.IntVar(&s.Replicas, "replicas", -1, "replicas of new topics; -1: the cluster's default")
	fs.IntVar(&s.MinInSync, "min-insync-replicas", 0, "min.insync.replicas of new topics; 0: the cluster's default")
	fs.DurationVar(&s.Retention, "log-retention", 0, "how long a new log keeps events; 0: no bound by age")
	fs.Int64Var(&s.RetentionMB, "log-retention-mb", 0, "`MiB` that each partition of a new log keeps (default 1024 embedded, else no bound)")
}

func (s *settings) storeFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.ClickHouseDSN, "clickhouse-dsn", "", "`clickhouse://user:password@host:9000/keypulse` to use instead of the embedded engine")
	fs.StringVar(&s.ClickHouseCluster, "clickhouse-cluster", "", "`name` of a cluster, in the configuration of those servers, that shares the rows")
	fs.BoolVar(&s.ClickHouseReplicated, "clickhouse-replicated", false, "make the cluster's tables replicated ones; its servers need a Keeper and the macros shard and replica")
}

func (s *settings) tableFlags(fs *flag.FlagSet) {
	fs.DurationVar(&s.EventRetention, "retention", 0, "events of months that ended longer ago leave ClickHouse, at least 24h; 0: never")
}

func (s *settings) engineFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.ClickHouseNativeListen, "clickhouse-native-listen", "127.0.0.1:9000", "native `address` of the embedded ClickHouse")
	fs.StringVar(&s.ClickHouseHTTPListen, "clickhouse-http-listen", "127.0.0.1:8123", "HTTP `address` of the embedded ClickHouse")
	fs.StringVar(&s.ClickHouseBin, "clickhouse-bin", "", "clickhouse `binary` (26.7 or later) to run instead of the library")
	fs.StringVar(&s.ClickHouseLib, "clickhouse-lib", "", "`path` of libchdb.so (default: where make put it)")
}

func (s *settings) notifyFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.WebhookNetworks, "webhook-networks", "", "`networks` that webhooks may be in beside the public Internet, such as 10.1.0.0/16,127.0.0.0/8")
	fs.StringVar(&s.SMTPAddress, "smtp-address", "", "`host:port` of a mail server; without one there is no e-mail")
	fs.StringVar(&s.SMTPTLS, "smtp-tls", mail.StartTLS, "starttls, tls (from the first byte) or none")
	fs.StringVar(&s.SMTPCAFile, "smtp-ca-file", "", "PEM `file` that signs the mail server's certificate (default: the system's)")
	fs.StringVar(&s.SMTPUser, "smtp-user", "", "`user` of the mail server; without one nobody logs in")
	fs.StringVar(&s.SMTPPassword, "smtp-password", "", "`password` of that user")
	fs.StringVar(&s.MailFrom, "mail-from", "", "`address` that mails come from")
}

func (s *settings) signupFlags(fs *flag.FlagSet) {
	fs.BoolVar(&s.Signup, "signup", false, "let companies make their own tenants at /signup; needs a mail server and --public-url")
	fs.StringVar(&s.PublicURL, "public-url", "", "`URL` at which browsers find this installation, such as https://keypulse.example.com")
	fs.StringVar(&s.ProxyNetworks, "proxy-networks", "", "`networks` of the proxies in front, whose X-Forwarded-For is believed where sign-ins and sign-ups are limited")
}

func (s *settings) limitFlags(fs *flag.FlagSet) {
	fs.BoolVar(&s.FSync, "fsync", false, "fsync before acknowledging: a power cut takes nothing, each answer waits for the disk")
	fs.DurationVar(&s.VerdictWait, "verdict-wait", 250*time.Millisecond, "how long a POST waits for the processor")
	fs.Int64Var(&s.InFlightMB, "in-flight-mb", httpapi.DefaultBodiesLimit>>20, "`MiB` of requests' bodies in memory at once; more is refused")
	fs.IntVar(&s.Connections, "max-connections", httpapi.DefaultMaxConnections, "open connections of the API; more are refused")
	fs.IntVar(&s.KeysPerTenant, "keys-per-tenant", 1_000_000, "keys with window state, of a tenant in a partition")
}

func (s *settings) ruleFlags(fs *flag.FlagSet) {
	fs.DurationVar(&s.RuleBudget, "rule-budget", rules.DefaultBudget, "what all rules of a tenant may take for one event in the worst case; a rule beyond it is refused")
}

// minInFlightMB is room for the largest request: 16 MiB of buffer for 10 MiB as sent and 10 MiB decompressed, in the three
// quarters that large bodies may use.
const minInFlightMB = 36

// finish checks the limits and fills in the defaults that depend on other settings.
func (s *settings) finish() error {
	data, err := filepath.Abs(s.Data)
	if err != nil {
		return fmt.Errorf("resolve data folder: %w", err)
	}
	s.Data = data
	if s.SecretFile == "" {
		s.SecretFile = filepath.Join(s.Data, "secret")
	}
	if s.EventRetention != 0 && s.EventRetention < sink.MinRetention {
		return usagef("retention is %v: must be 0 or at least %v", s.EventRetention, sink.MinRetention)
	}
	if s.InFlightMB < minInFlightMB {
		return usagef("in-flight-mb is %d: must be at least %d, so that one compressed bulk request fits", s.InFlightMB, minInFlightMB)
	}
	if err := s.mail().Validate(); err != nil {
		return usagef("%v", err)
	}
	if _, err := notify.ParseNetworks(s.WebhookNetworks); err != nil {
		return usagef("webhook-networks: %v", err)
	}
	if err := s.checkSignup(); err != nil {
		return err
	}
	if s.RuleBudget != 0 && s.RuleBudget < rules.MaxTime {
		return usagef("rule-budget is %v: must be at least %v, which one rule may take", s.RuleBudget, rules.MaxTime)
	}
	if s.Connections < 1 {
		return usagef("max-connections is %d: must be at least 1", s.Connections)
	}
	s.partitionsGiven = s.Partitions != 0
	if !s.partitionsGiven {
		s.Partitions = 64
		if s.embeddedKafka() {
			s.Partitions = 8
		}
	}
	if s.RetentionMB == 0 && s.embeddedKafka() {
		s.RetentionMB = 1024
	}
	return nil
}

// mail is how to reach the mail server.
func (s *settings) mail() mail.Config {
	return mail.Config{Address: s.SMTPAddress, TLS: s.SMTPTLS, CAFile: s.SMTPCAFile, User: s.SMTPUser, Password: s.SMTPPassword, From: s.MailFrom}
}

func (s *settings) embeddedKafka() bool { return s.KafkaBrokers == "" }
func (s *settings) cluster() store.Cluster {
	return store.Cluster{Name: s.ClickHouseCluster, Replicated: s.ClickHouseReplicated}
}

func (s *settings) checkSignup() error {
	if _, err := notify.ParseNetworks(s.ProxyNetworks); err != nil {
		return usagef("proxy-networks: %v", err)
	}
	s.PublicURL = strings.TrimRight(s.PublicURL, "/")
	if u, err := url.Parse(s.PublicURL); s.PublicURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.RawQuery != "") {
		return usagef("public-url %q: must be such as https://keypulse.example.com", s.PublicURL)
	}
	if s.Signup && (s.SMTPAddress == "" || s.PublicURL == "") {
		return usagef("signup needs --smtp-address, --mail-from and --public-url")
	}
	return nil
}

func (s *settings) embeddedClickHouse() bool { return s.ClickHouseDSN == "" }

// broker says how to reach Kafka: the given cluster, or the embedded broker of an `up` with the same settings.
func (s *settings) broker() broker.Config {
	brokers := s.KafkaBrokers
	if s.embeddedKafka() {
		brokers = s.KafkaListen
	}
	return broker.Config{
		Brokers: strings.Split(brokers, ","), TLS: s.KafkaTLS, CAFile: s.KafkaCAFile,
		SASL: s.KafkaSASL, User: s.KafkaUser, Password: s.KafkaPassword,
	}
}

func (s *settings) topics() broker.TopicConfig {
	t := broker.TopicConfig{
		Partitions: int32(s.Partitions), Replicas: s.Replicas, MinInSync: s.MinInSync, RetentionBytes: -1, RetentionMS: -1,
		MayBegin: noLog,
	}
	if s.Retention > 0 {
		t.RetentionMS = s.Retention.Milliseconds()
	}
	if s.RetentionMB > 0 {
		t.RetentionBytes = s.RetentionMB << 20
	}
	return t
}

func (s *settings) producer() broker.ProducerConfig {
	cfg := broker.DefaultProducerConfig()
	cfg.Fragile = s.embeddedKafka()
	return cfg
}

// logger makes the process's logger: to standard error, so that standard output holds only what a command prints.
func (s *settings) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(s.LogLevel)
	if err != nil {
		return nil, usagef("log-level: %v", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(level)
	cfg.Sampling = nil
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.DisableStacktrace = true
	cfg.DisableCaller = true
	switch s.LogFormat {
	case "json":
	case "console":
		cfg.Encoding = "console"
		cfg.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		cfg.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	default:
		return nil, usagef("log-format %q: must be console or json", s.LogFormat)
	}
	return cfg.Build()
}

// url is where a client on this machine reaches the API.
func (s *settings) url() string {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return "http://" + s.Listen
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
