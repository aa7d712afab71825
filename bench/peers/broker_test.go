package peers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
)

// childFolder makes the test binary an embedded broker in that folder, until its standard input ends.
const childFolder = "KEYPULSE_BENCH_BROKER"

func TestMain(m *testing.M) {
	dir := os.Getenv(childFolder)
	if dir == "" {
		os.Exit(m.Run())
	}
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(e.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	e.Close()
}

// startBroker starts a broker in a process of its own, with KeyPulse's topics, and returns its address.
func startBroker(b *testing.B, kind string) string {
	b.Helper()
	addr := ""
	if kind == "apache" {
		addr = brokertest.StartKafka(b, brokertest.KafkaConfig{JVM: []string{"-Xmx1g"}}).Addr
	} else {
		addr = startEmbedded(b)
	}
	c, err := broker.Open(broker.Config{Brokers: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.EnsureTopics(ctx, broker.TopicConfig{Partitions: logPartitions, Replicas: 1, RetentionBytes: 64 << 20, RetentionMS: -1}); err != nil {
		b.Fatal(err)
	}
	return addr
}

func startEmbedded(b *testing.B) string {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+b.TempDir())
	child.Stderr = os.Stderr
	life, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		life.Close()
		if err := child.Wait(); err != nil {
			b.Error(err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}
