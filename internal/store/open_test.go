package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

func TestOpenMakesTheDatabase(t *testing.T) {
	dsn, err := url.Parse(enginetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	dsn.Path += "-`odd`"
	for range 2 {
		conn := open(t, dsn.String())
		if got := text(t, conn, "SELECT currentDatabase()"); got != strings.TrimPrefix(dsn.Path, "/")+"\n" {
			t.Errorf("database %q, want %q", got, dsn.Path)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	f := func(dsn, want string) {
		t.Helper()
		conn, err := store.Open(t.Context(), dsn)
		if err == nil {
			conn.Close()
			t.Fatalf("Open(%s): no error", dsn)
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Open(%s): %v, want %q and no password", dsn, err, want)
		}
	}
	f("", "parse ClickHouse DSN")
	f("clickhouse://keypulse:s3cret@127.0.0.1:1/x", "connect to ClickHouse at 127.0.0.1:1")
	f("clickhouse://keypulse:s3cret@127.0.0.1:1/x?ca_file=/nowhere", "needs secure=true")
	f("clickhouse://keypulse:s3cret@127.0.0.1:1/x?secure=true&ca_file=/nowhere", "read ca_file")
	f("clickhouse://keypulse:s3cret@127.0.0.1:1/x?%zz", "parse ClickHouse DSN")
	native, err := url.Parse(enginetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	f("clickhouse://keypulse:s3cret@"+native.Host+"/x", "Authentication failed")
}

func TestOpenTLS(t *testing.T) {
	dsn, err := url.Parse(enginetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	dsn.Host = tlsProxy(t, dsn.Host, caFile)
	f := func(query string, ok bool) {
		t.Helper()
		dsn.RawQuery = query
		conn, err := store.Open(t.Context(), dsn.String())
		if (err == nil) != ok {
			t.Errorf("%s: %v, want ok %v", query, err, ok)
		}
		if err == nil {
			conn.Close()
		}
	}
	f("secure=true&ca_file="+caFile, true)
	f("secure=true&skip_verify=true", true)
	f("secure=true", false)
}

// tlsProxy ends TLS for the native protocol at target, with a certificate of its own that it writes to caFile.
func tlsProxy(t *testing.T, target, caFile string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t, caFile)}})
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { relay(client, target) })
		}
	})
	t.Cleanup(func() { l.Close(); connections.Wait() })
	return l.Addr().String()
}

// relay copies both ways until one side closes.
func relay(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(client, server); client.Close() }()
	_, _ = io.Copy(server, client)
	server.Close()
}

func certificate(t *testing.T, caFile string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
