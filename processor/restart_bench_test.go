package processor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"keypulse/internal/broker"
	"keypulse/internal/broker/brokertest"
	"keypulse/schema"
)

// restartKeys is how many keys have state when the processor is started again.
const restartKeys = 1_000_000

// BenchmarkRestart measures from the start of a processor's process to the verdict of the first event, which holds only when the
// windows of its key are those of before: three aggregates, two events for each key, the state in checkpoints of a broker.
func BenchmarkRestart(b *testing.B) {
	if testing.Short() {
		b.Skip("writes two million events")
	}
	addr := brokertest.StartBroker(b)
	c, log := brokertest.Open(b, addr, partitions)
	w := newRestartLog(b, c)
	stop := start(b, c, log)
	for round := range 2 {
		for from := 0; from < restartKeys; from += 1000 {
			w.write(from, 1000, round)
		}
	}
	w.wait()
	stop()
	var seconds, used []float64
	for i := 0; b.Loop(); i++ {
		if i > 0 { // the killed one's membership must end first
			w.write(i*partitions*1000+1000, 1, 2)
			stop := start(b, c, log)
			w.wait()
			stop()
		}
		w.write(i*partitions*1000, 1, 2)
		began := time.Now()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childBroker+"="+addr)
		if err := child.Start(); err != nil {
			b.Fatal(err)
		}
		exceptions := w.wait()
		seconds = append(seconds, time.Since(began).Seconds())
		if exceptions != 1 {
			b.Fatalf("%d exceptions, want the third event's alert", exceptions)
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		used = append(used, (child.ProcessState.UserTime() + child.ProcessState.SystemTime()).Seconds())
	}
	slices.Sort(seconds)
	slices.Sort(used)
	b.ReportMetric(seconds[len(seconds)/2], "s/restart")
	b.ReportMetric(used[len(used)/2], "cpu-s/restart")
	b.ReportMetric(0, "ns/op")
}

// restartLog is the log of the benchmark: keys in turn over the partitions.
type restartLog struct {
	b      *testing.B
	c      *broker.Client
	events []*broker.Append
	ends   [partitions]int64 // of the events
	judged [partitions]int64
	read   [partitions]int64 // of the verdicts
	rev    int64
}

func newRestartLog(b *testing.B, c *broker.Client) *restartLog {
	w := &restartLog{b: b, c: c}
	for p := range int32(partitions) {
		w.events = append(w.events, broker.NewAppend(c, schema.TopicEvents, p, broker.DefaultProducerConfig()))
	}
	const when = `count("24h") >= 3 && sum("24h", details.amount_usd) >= 15 && distinct("24h", source_ip) >= 3`
	value, err := json.Marshal(schema.RuleRecord{
		Tenant: "demo", ID: "third", Version: 1, By: "bench",
		Rule: fmt.Appendf(nil, `{"id":"third","name":"third","when":%q,"severity":"critical"}`, when),
	})
	if err != nil {
		b.Fatal(err)
	}
	rules := broker.NewAppend(c, schema.TopicRules, 0, broker.DefaultProducerConfig())
	offset, err := rules.Records(context.Background(), broker.Record{Key: schema.RecordKey("demo", "third"), Value: value})
	if err != nil {
		b.Fatal(err)
	}
	w.rev = offset + 1
	return w
}

// write writes an event for each of n keys, all of one partition.
func (w *restartLog) write(from, n, round int) {
	w.b.Helper()
	p := from / 1000 % partitions
	records := make([]broker.Record, n)
	for i := range records {
		at := schema.Millis(1_775_392_440_000 + round*1000)
		e := schema.Event{
			Tenant: "demo", KeyID: fmt.Sprintf("signing-key-%07d", from+i), Type: "signing_request", Severity: schema.Nominal, SourceIP: fmt.Sprint("10.0.0.", round),
			Details: []byte(`{"amount_usd":5}`), EventID: "019a20878d07722d9675abd336a39ccc", CreatedAt: at, RulesRev: w.rev,
		}
		records[i] = broker.Record{Key: schema.RecordKey(e.Tenant, e.KeyID), Value: e.AppendValue(nil), Time: at}
	}
	if _, err := w.events[p].Records(context.Background(), records...); err != nil {
		w.b.Fatal(err)
	}
	w.ends[p] += int64(n)
}

// wait waits until everything is judged and returns the number of new exceptions.
func (w *restartLog) wait() (exceptions int) {
	w.b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for p := range int32(partitions) {
		for r := w.c.NewReader(schema.TopicVerdicts, p, w.read[p]); w.judged[p] < w.ends[p]; {
			records, err := r.Fetch(ctx)
			if err != nil {
				w.b.Fatal(err)
			}
			for _, record := range records {
				v, err := schema.DecodeVerdict(record.Value)
				if err != nil {
					w.b.Fatal(err)
				}
				w.judged[p] = v.To
				w.read[p]++
				exceptions += len(v.Exceptions)
			}
		}
	}
	return exceptions
}
