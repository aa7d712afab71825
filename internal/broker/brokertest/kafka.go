package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// KafkaConfig is what a test may want of an Apache Kafka broker.
type KafkaConfig struct {
	Settings []string // lines of its properties file, name=value
	JVM      []string // default: soon up and small
}

// Kafka is an Apache Kafka broker (KRaft, one process), which a test may kill and start again. Its jars are those of
// kafka/pom.xml; `make test-kafka` fetches them.
type Kafka struct {
	Addr    string // the broker itself
	cfg     KafkaConfig
	dir     string
	shared  bool         // no test owns dir: it is removed when the process ends
	proxied net.Listener // owns the other address that the broker advertises: see spoilable
	life    *os.File     // the broker lives until this is closed, by us or by our death
	process *exec.Cmd    // nil: not running
}

// StartKafka runs a broker of the test's own.
func StartKafka(t testing.TB, cfg KafkaConfig) *Kafka {
	t.Helper()
	k, err := newKafka(t.TempDir(), cfg, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.remove)
	return k
}

// newKafka formats a folder and starts a broker on it; a shared one removes the folder in the end.
func newKafka(dir string, cfg KafkaConfig, shared bool) (*Kafka, error) {
	if cfg.JVM == nil {
		cfg.JVM = []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
	}
	proxied, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start Apache Kafka: %w", err)
	}
	k := &Kafka{cfg: cfg, dir: dir, shared: shared, proxied: proxied}
	if err := k.format(); err != nil {
		return nil, errors.Join(err, proxied.Close())
	}
	if err := k.start(); err != nil {
		k.remove()
		return nil, err
	}
	return k, nil
}

// format writes the settings and the empty log. The ports are free now, and ours unless someone is very quick.
func (k *Kafka) format() error {
	var addr [3]string
	for i := range addr {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("format Apache Kafka: %w", err)
		}
		defer l.Close()
		addr[i] = l.Addr().String()
	}
	k.Addr = addr[0]
	settings := append([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + addr[2],
		"listeners=DIRECT://" + addr[0] + ",PROXIED://" + addr[1] + ",CONTROLLER://" + addr[2],
		"advertised.listeners=DIRECT://" + addr[0] + ",PROXIED://" + k.proxied.Addr().String(),
		"listener.security.protocol.map=DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=DIRECT",
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(k.dir, "log"),
		"auto.create.topics.enable=false",
		"offsets.topic.num.partitions=1",
		"offsets.topic.replication.factor=1",
		"transaction.state.log.num.partitions=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"group.initial.rebalance.delay.ms=0",
		fmt.Sprint("group.min.session.timeout.ms=", sessionTimeout.Milliseconds()),
		"log.cleaner.enable=false",
	}, k.cfg.Settings...)
	if err := os.WriteFile(k.file("settings"), []byte(strings.Join(settings, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("format Apache Kafka: %w", err)
	}
	if err := os.WriteFile(k.file("proxied"), []byte(addr[1]), 0o600); err != nil {
		return fmt.Errorf("format Apache Kafka: %w", err)
	}
	jars := filepath.Join(kafkaFolder(), "target", "jars")
	if _, err := os.Stat(jars); err != nil {
		return fmt.Errorf("format Apache Kafka: its jars are not there, `make test-kafka` fetches them: %w", err)
	}
	arguments := append(k.java(), "kafka.tools.StorageTool", "format", "-t", "a2V5cHVsc2UtdGVzdHMtLQ", "-c", k.file("settings"))
	if out, err := exec.CommandContext(context.Background(), "java", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("format Apache Kafka: %w: %s", err, out)
	}
	return nil
}

// kafkaFolder is the folder with the pom.
func kafkaFolder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "kafka")
}

func (k *Kafka) file(name string) string { return filepath.Join(k.dir, name) }

// java returns java's own arguments.
func (k *Kafka) java() []string {
	return append(k.cfg.JVM[:len(k.cfg.JVM):len(k.cfg.JVM)], "-cp", filepath.Join(kafkaFolder(), "target", "jars", "*"),
		"-Dlog4j2.configurationFile="+filepath.Join(kafkaFolder(), "log4j2.properties"))
}

// guard runs a command until its own standard input ends, then kills it, and removes the folder that its first argument
// names.
const guard = `folder=$1; shift; "$@" </dev/null & cat >/dev/null; kill -9 $!; wait; [ -z "$folder" ] || rm -rf "$folder"`

// start runs the broker and returns when it answers.
func (k *Kafka) start() error {
	stdin, life, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start Apache Kafka: %w", err)
	}
	defer stdin.Close()
	out, err := os.OpenFile(k.file("out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(fmt.Errorf("start Apache Kafka: %w", err), life.Close())
	}
	defer out.Close()
	folder := ""
	if k.shared {
		folder = k.dir
	}
	arguments := append([]string{"-c", guard, "guard", folder, "java"}, append(k.java(), "kafka.Kafka", k.file("settings"))...)
	process := exec.CommandContext(context.Background(), "sh", arguments...)
	process.Stdin, process.Stdout, process.Stderr = stdin, out, out
	if err := process.Start(); err != nil {
		return errors.Join(fmt.Errorf("start Apache Kafka: %w", err), life.Close())
	}
	k.process, k.life = process, life
	return k.awaitAnswer()
}

func (k *Kafka) awaitAnswer() error {
	c, err := broker.Open(broker.Config{Brokers: []string{k.Addr}})
	if err != nil {
		return err
	}
	defer c.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := c.Ping(context.Background())
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(k.file("out"))
			return fmt.Errorf("start Apache Kafka: no answer within a minute: %w: it said %s", err, said)
		}
	}
}

// Kill ends the broker as SIGKILL does.
func (k *Kafka) Kill() {
	if k.process == nil {
		return
	}
	k.life.Close()
	_ = k.process.Wait() // how it ended is known
	k.process = nil
}

// StartNetwork puts a network before the broker, good until [Network.Spoil], until the test ends.
func (k *Kafka) StartNetwork(t testing.TB, seed uint64) *Network {
	t.Helper()
	return k.spoilable(t, seed)
}

// Producers returns how many idempotent producers a partition remembers.
func (k *Kafka) Producers(t testing.TB, topic schema.Topic, partition int32) int {
	t.Helper()
	ask := kmsg.NewPtrDescribeProducersRequest()
	ask.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: string(topic), Partitions: []int32{partition}}}
	answer := ask.ResponseKind().(*kmsg.DescribeProducersResponse)
	if err := exchange(k.Addr, ask, answer); err != nil {
		t.Fatalf("describe producers: %v", err)
	}
	p := answer.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		t.Fatalf("describe producers: %v", err)
	}
	return len(p.ActiveProducers)
}

// Restart starts the broker again on its folder and returns when it answers.
func (k *Kafka) Restart(t testing.TB) {
	t.Helper()
	k.Kill()
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
}

func (k *Kafka) remove() {
	k.Kill()
	k.proxied.Close()
}
