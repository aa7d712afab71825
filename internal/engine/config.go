package engine

import (
	"fmt"
	"net"
	"strconv"

	"go.uber.org/zap"
)

// Config says where the engine keeps its data and where it listens.
type Config struct {
	// Dir is the engine's own folder: data, log, configuration, password. Made when missing. Required.
	Dir string
	// NativeListen is the host:port of the native protocol; port 0 chooses a free one.
	NativeListen string
	// HTTPListen is the host:port of the HTTP protocol, on the same host; port 0 chooses a free one.
	HTTPListen string
	// Library is the path of libchdb.so. Empty searches: see FindLibrary.
	Library string
	// Bin is the path of a clickhouse binary (26.7 or later) to run as a server instead of the library.
	Bin string
	// FSync makes every INSERT wait for the disk. Off, a power cut may take the last seconds; SIGKILL never does.
	FSync bool
	// Cluster is the native addresses of the shards of a cluster named as the database, this engine's among them, which all
	// have this one's password. Without any there is none.
	Cluster []string
	// Log gets the engine's starts, ends and last words. Nil logs nothing.
	Log *zap.Logger
}

// Validate reports the first field that cannot be used, by its name.
func (c Config) Validate() error {
	if c.Dir == "" {
		return fmt.Errorf("check engine config: Dir is empty")
	}
	native, _, err := splitListen(c.NativeListen)
	if err != nil {
		return fmt.Errorf("check engine config: NativeListen: %w", err)
	}
	http, _, err := splitListen(c.HTTPListen)
	if err != nil {
		return fmt.Errorf("check engine config: HTTPListen: %w", err)
	}
	if native != http {
		// The engine has one list of hosts for all its ports.
		return fmt.Errorf("check engine config: NativeListen and HTTPListen must have the same host, not %q and %q", native, http)
	}
	return nil
}

func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, port, nil
}

// choosePorts replaces ports that are 0 by free ones. Both listeners are open while it chooses, so the two differ;
// the engine binds them a moment later.
func (c *Config) choosePorts() error {
	for _, listen := range []*string{&c.NativeListen, &c.HTTPListen} {
		if _, port, _ := splitListen(*listen); port != 0 {
			continue
		}
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			return fmt.Errorf("choose port: %w", err)
		}
		defer l.Close()
		host, _, _ := splitListen(*listen)
		*listen = net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
}

// dialAddress is the address at which this machine reaches a listener: a wildcard host becomes the loopback.
func dialAddress(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
