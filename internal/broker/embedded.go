package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// EmbeddedConfig says where the embedded broker lives.
type EmbeddedConfig struct {
	Dir    string // its data folder
	Listen string // host:port; port 0 chooses a free one
	FSync  bool   // fsync each batch before it is acknowledged; without it a power cut may take the last seconds
	// MinSessionTimeout is the shortest session timeout that a group's members may ask for; default 6 s.
	MinSessionTimeout time.Duration
}

// Embedded is a Kafka broker in this process, on disk. Records, topics and commits survive a SIGKILL; the producers'
// sequences do not, which does no harm, since broker and producers live and die together.
type Embedded struct {
	cluster *kfake.Cluster
	addr    string
	doors   *doors
}

// StartEmbedded starts the broker; Close ends it.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka: port %q: %w", portText, err)
	}
	e := new(Embedded)
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(port),
		kfake.ClusterID("keypulse"),
		kfake.DataDir(cfg.Dir),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			tcp, err := (&net.ListenConfig{}).Listen(context.Background(), network, net.JoinHostPort(host, port))
			if err != nil {
				return nil, err
			}
			e.doors = openDoors(tcp)
			return e.doors, nil
		}),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(maxMessageBytes)}),
	}
	if cfg.FSync {
		opts = append(opts, kfake.SyncWrites())
	}
	if cfg.MinSessionTimeout > 0 {
		opts = append(opts, kfake.GroupMinSessionTimeout(cfg.MinSessionTimeout))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka on %s: %w", cfg.Listen, err)
	}
	e.cluster, e.addr = cluster, cluster.ListenAddrs()[0]
	return e, nil
}

// Dial connects this process to the broker without the kernel in between, whatever the address: for [Config].
func (e *Embedded) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return e.doors.dial(ctx) }

// Addr is the broker's host:port.
func (e *Embedded) Addr() string { return e.addr }

// Close stops the broker; what was acknowledged is on disk.
func (e *Embedded) Close() { e.cluster.Close() }
