package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"keypulse/internal/pause"
	"keypulse/schema"
)

// requestTimeout bounds every request to the broker, beside what the request itself waits for.
const requestTimeout = 10 * time.Second

// Config says how to reach Kafka.
type Config struct {
	Brokers  []string // host:port of one or more brokers; required
	ClientID string   // shown in the broker's logs; default "keypulse"
	TLS      bool     // talk TLS
	CAFile   string   // PEM bundle that signs the brokers' certificates; "" = the system's
	SASL     string   // "", "plain", "scram-sha-256" or "scram-sha-512"
	User     string   // for SASL
	Password string   // for SASL
	// SessionTimeout is how long a group waits for a member that went silent; default 6 s, the least that brokers allow
	// by default.
	SessionTimeout time.Duration
	// Dial connects to a broker; default TCP, within 3 s. See [Embedded.Dial].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate names the setting that is wrong.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("validate Kafka settings: brokers: none given")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return fmt.Errorf("validate Kafka settings: brokers: %w", err)
		}
	}
	if c.CAFile != "" && !c.TLS {
		return errors.New("validate Kafka settings: a CA file is given but TLS is off")
	}
	if c.SASL != "" && c.User == "" {
		return errors.New("validate Kafka settings: user: SASL needs one")
	}
	return nil
}

// Client is a connection pool to one Kafka cluster. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport *kafka.Transport
	kafka     *kafka.Client
	dialer    *kafka.Dialer
}

// Open makes a client. It connects on first use.
func Open(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "keypulse"
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = 6 * time.Second
	}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	mechanism, err := cfg.mechanism()
	if err != nil {
		return nil, err
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	}
	transport := &kafka.Transport{Dial: dial, ClientID: cfg.ClientID, TLS: tlsConfig, SASL: mechanism}
	return &Client{
		cfg:       cfg,
		transport: transport,
		kafka:     &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: transport},
		dialer:    &kafka.Dialer{DialFunc: dial, Timeout: 10 * time.Second, ClientID: cfg.ClientID, TLS: tlsConfig, SASLMechanism: mechanism},
	}, nil
}

// Close drops idle connections; those in use end with their requests.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func (c Config) tls() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read Kafka CA file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read Kafka CA file %s: no certificate in it", c.CAFile)
	}
	return t, nil
}

func (c Config) mechanism() (sasl.Mechanism, error) {
	switch strings.ToLower(c.SASL) {
	case "":
		return nil, nil
	case "plain":
		return plain.Mechanism{Username: c.User, Password: c.Password}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, c.User, c.Password)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, c.User, c.Password)
	}
	return nil, fmt.Errorf("validate Kafka settings: sasl %q: must be plain, scram-sha-256 or scram-sha-512", c.SASL)
}

// retriable says whether a request that failed with err may succeed when it is sent again: no answer came, or the
// broker says that it is not ready yet.
func retriable(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		return code.Temporary() || code == kafka.UnknownTopicOrPartition || code == kafka.BrokerNotAvailable
	}
	return !errors.Is(err, context.Canceled)
}

// backoff is the wait before try n (from 0): 20 ms, doubled up to a second.
func backoff(n int) time.Duration {
	return min(20*time.Millisecond<<min(n, 6), time.Second)
}

// retry calls f until it succeeds, fails for good, or ctx is done; then it returns f's last error.
func retry(ctx context.Context, f func(context.Context) error) error {
	for n := 0; ; n++ {
		try, cancel := context.WithTimeout(ctx, requestTimeout)
		err := f(try)
		cancel()
		if err == nil || ctx.Err() != nil || !retriable(err) {
			return err
		}
		if pause.For(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// errHalfAnswer: kafka-go asks for the two ends of a partition in two requests, and when one of them gets no answer, it
// reports that as if the broker had answered UNKNOWN_SERVER_ERROR.
var errHalfAnswer = errors.New("one of two answers is missing")

// Offsets returns the first offset that a partition still holds and the one that its next record will get.
func (c *Client) Offsets(ctx context.Context, topic schema.Topic, partition int32) (first, end int64, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		res, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
			string(topic): {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
		}})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[string(topic)] {
			if errors.Is(p.Error, kafka.Unknown) {
				return errHalfAnswer
			}
			if p.Error != nil {
				return p.Error
			}
			if p.Partition == int(partition) {
				first, end = p.FirstOffset, p.LastOffset
				return nil
			}
		}
		return kafka.UnknownTopicOrPartition
	})
	if err != nil {
		return 0, 0, fmt.Errorf("list offsets of %s/%d: %w", topic, partition, err)
	}
	return first, end, nil
}

// Ping asks the cluster for its metadata: an answer means that it is there.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := c.kafka.ApiVersions(ctx, &kafka.ApiVersionsRequest{}); err != nil {
		return fmt.Errorf("reach Kafka: %w", err)
	}
	return nil
}
