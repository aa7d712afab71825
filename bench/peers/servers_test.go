package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"

	"keypulse/schema"
)

// serveEmpty serves a Fiber handler that does nothing.
func serveEmpty(string) (string, func(), error) {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/*", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusAccepted) })
	return serveFiber(app, func() {})
}

func serveFiber(app *fiber.App, end func()) (string, func(), error) {
	l, err := listen()
	if err != nil {
		return "", nil, err
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(l) }()
	return l.Addr().String(), func() {
		_ = app.Shutdown()
		<-served
		end()
	}, nil
}

// naiveEvent is an event as one would write it first.
type naiveEvent struct {
	KeyID     string         `json:"key_id"`
	EventType string         `json:"event_type"`
	Severity  string         `json:"severity"`
	SourceIP  string         `json:"source_ip,omitempty"`
	Actor     string         `json:"actor,omitempty"`
	Details   map[string]any `json:"details"`
	EventID   string         `json:"event_id"`
	CreatedAt time.Time      `json:"created_at"`
}

// serveNaive serves encoding/json and kafka-go's Writer, with a timeout of 1 ms: the same events, acknowledged by all in-sync
// replicas, with fewer promises.
func serveNaive(brokers string) (string, func(), error) {
	w := &kafka.Writer{
		Addr: kafka.TCP(brokers), Topic: string(schema.TopicEvents), RequiredAcks: kafka.RequireAll, Balancer: kafka.Murmur2Balancer{},
		BatchTimeout: time.Millisecond, BatchSize: 2000, BatchBytes: 900 << 10,
	}
	write := func(events []naiveEvent) error {
		messages := make([]kafka.Message, len(events))
		for i := range events {
			events[i].EventID, events[i].CreatedAt = uuid.Must(uuid.NewV7()).String(), time.Now()
			value, err := json.Marshal(events[i])
			if err != nil {
				return err
			}
			messages[i] = kafka.Message{Key: []byte(events[i].KeyID), Value: value}
		}
		return w.WriteMessages(context.Background(), messages...)
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/api/events", func(c *fiber.Ctx) error {
		events := make([]naiveEvent, 1)
		if err := json.Unmarshal(c.Body(), &events[0]); err != nil {
			return err
		}
		if err := write(events); err != nil {
			return err
		}
		return c.Status(fiber.StatusAccepted).JSON(events[0])
	})
	app.Post("/api/events/batch", func(c *fiber.Ctx) error {
		var batch struct {
			Events []naiveEvent `json:"events"`
		}
		if err := json.Unmarshal(c.Body(), &batch); err != nil {
			return err
		}
		if err := write(batch.Events); err != nil {
			return err
		}
		return c.Status(fiber.StatusAccepted).JSON(batch)
	})
	return serveFiber(app, func() { _ = w.Close() })
}

// keypulseNode is the binary as users run it: an ingest node on a broker that is up.
type keypulseNode struct {
	binary, dir, brokers string
	apiKey               string
}

// buildNode builds the binary and makes an API key without a rate limit.
func buildNode(b *testing.B, brokers string) *keypulseNode {
	b.Helper()
	n := &keypulseNode{binary: filepath.Join(b.TempDir(), "keypulse"), dir: b.TempDir(), brokers: brokers}
	build := exec.Command("go", "build", "-o", n.binary, "./cmd/keypulse")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "secret"), []byte(strings.Repeat("5e", 32)+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	create := exec.Command(n.binary, "apikey", "create", "--tenant", "demo", "--name", "bench", "--rate-limit", "0", "--json", "--data", n.dir, "--kafka-brokers", brokers)
	out, err := create.Output()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var made struct {
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal(out, &made); err != nil || made.APIKey == "" {
		b.Fatalf("%v: %s", err, out)
	}
	n.apiKey = made.APIKey
	return n
}

// start runs the node until stop is called; began is when it was executed.
func (n *keypulseNode) start(b *testing.B) (node child, began time.Time, stop func()) {
	b.Helper()
	l, err := listen()
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(n.binary, "ingest", "--data", n.dir, "--kafka-brokers", n.brokers, "--listen", addr, "--log-level", "error")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	began = time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return child{addr, cmd.Process.Pid}, began, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}
}

// firstAck is how long after its execution a node has acknowledged an event.
func (n *keypulseNode) firstAck(b *testing.B) time.Duration {
	b.Helper()
	node, began, stop := n.start(b)
	defer stop()
	for {
		conn, err := net.Dial("tcp", node.addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
		req, err := http.NewRequest(http.MethodPost, "http://"+node.addr+"/api/events", bytes.NewReader([]byte(event)))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+n.apiKey)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", "respond-async")
		resp, err := http.DefaultClient.Do(req)
		took := time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			b.Fatal(fmt.Errorf("the first answer is %s", resp.Status))
		}
		http.DefaultClient.CloseIdleConnections()
		return took
	}
}
