package broker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap/zaptest"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// certificate makes a certificate for 127.0.0.1 that signs itself, and a file with it.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// TestSecuredCluster writes, reads and joins a group through TLS with each SASL mechanism, and is refused with the wrong
// password or without the authority.
func TestSecuredCluster(t *testing.T) {
	cert, caFile := certificate(t)
	for mechanism, sasl := range map[string]string{"PLAIN": "plain", "SCRAM-SHA-256": "scram-sha-256", "SCRAM-SHA-512": "scram-sha-512"} {
		t.Run(sasl, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(mechanism, "ann", "secret"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			good := broker.Config{Brokers: cluster.ListenAddrs(), TLS: true, CAFile: caFile, SASL: sasl, User: "ann", Password: "secret"}
			useCluster(t, good)

			wrong := good
			wrong.Password = "guessed"
			stranger := good
			stranger.CAFile = ""
			for name, cfg := range map[string]broker.Config{"a wrong password": wrong, "an unknown authority": stranger} {
				c, err := broker.Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(t.Context()); err == nil {
					t.Errorf("%s was accepted", name)
				}
				c.Close()
			}
		})
	}
}

func useCluster(t *testing.T, cfg broker.Config) {
	t.Helper()
	c, err := broker.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: 1, Replicas: 1, RetentionBytes: -1, RetentionMS: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.NewAppend(c, schema.TopicEvents, 0, broker.DefaultProducerConfig()).Records(ctx, record(0, "k", "v")); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c, schema.TopicEvents, 0); len(got) != 1 || string(got[0].Value) != "v" {
		t.Errorf("read %v", got)
	}
	joined, leave := context.WithCancel(ctx)
	committed := false
	err = c.RunGroup(joined, broker.Group{ID: "keypulse-test", Topic: schema.TopicEvents, Log: zaptest.NewLogger(t)}, func(ctx context.Context, g *broker.Generation) error {
		err := g.Commit(ctx, []broker.Commit{{Partition: 0, Offset: 1}})
		committed = err == nil
		leave()
		return err
	})
	if err != nil || !committed {
		t.Errorf("committed: %t: %v", committed, err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, cfg := range map[string]broker.Config{
		"no broker":         {},
		"no port":           {Brokers: []string{"kafka"}},
		"CA without TLS":    {Brokers: []string{"k:1"}, CAFile: "x"},
		"missing CA":        {Brokers: []string{"k:1"}, TLS: true, CAFile: "/nowhere"},
		"SASL without user": {Brokers: []string{"k:1"}, SASL: "plain"},
		"unknown SASL":      {Brokers: []string{"k:1"}, SASL: "magic", User: "u"},
	} {
		if _, err := broker.Open(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
