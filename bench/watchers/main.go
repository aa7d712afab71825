// Command watchers opens many streams of a running instance over sockets, idle ones, which ask for a key that does not exist,
// and busy ones, which see everything, and says what they saw. `keypulse bench` beside it makes the events.
//
//	KEYPULSE_API_KEY=… go run ./bench/watchers -url http://127.0.0.1:8080 -idle 2000 -busy 20 -duration 30s
//
// The API key has no limit and the scope read. Its figures are in docs/benchmarks.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// watchers count over all streams. Latencies are those of one busy stream: from created_at, which is cut to the
// millisecond, to when its frame is read.
type watchers struct {
	url, apiKey          string
	open, events, missed atomic.Int64
	failed               atomic.Int64

	mu      sync.Mutex // guards the following
	latency *hdrhistogram.Histogram
}

func main() {
	w := &watchers{apiKey: os.Getenv("KEYPULSE_API_KEY"), latency: hdrhistogram.New(1, 600_000, 3)}
	flag.StringVar(&w.url, "url", "http://127.0.0.1:8080", "root URL of the instance")
	idle := flag.Int("idle", 2000, "streams that see nothing")
	busy := flag.Int("busy", 20, "streams that see everything")
	duration := flag.Duration("duration", 30*time.Second, "how long to watch, when all are open")
	flag.Parse()
	if err := w.run(*idle, *busy, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "watchers:", err)
		os.Exit(1)
	}
}

func (w *watchers) run(idle, busy int, duration time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	watch := func(query string, measure bool) {
		all.Go(func() {
			if err := w.watch(ctx, query, measure); err != nil && ctx.Err() == nil {
				w.failed.Add(1)
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	for i := range busy {
		watch("", i == 0)
	}
	for range idle {
		watch("?key_id=nobody-has-this-key", false)
	}
	for begin := time.Now(); w.open.Load() < int64(idle+busy); time.Sleep(10 * time.Millisecond) {
		if w.failed.Load() > 0 || time.Since(begin) > time.Minute {
			return fmt.Errorf("open streams: %d of %d", w.open.Load(), idle+busy)
		}
	}
	before, lost := w.events.Load(), w.missed.Load()
	time.Sleep(duration)
	events, missed := w.events.Load()-before, w.missed.Load()-lost
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf("%d idle and %d busy streams, %d failed\n", idle, busy, w.failed.Load())
	fmt.Printf("events read: %.0f/s, %.0f/s by each busy one; left out (gaps): %.2f %%\n",
		float64(events)/duration.Seconds(), float64(events)/duration.Seconds()/float64(max(busy, 1)), 100*float64(missed)/float64(max(events+missed, 1)))
	fmt.Printf("from created_at to read: p50 %d ms, p99 %d ms, largest %d ms\n",
		w.latency.ValueAtQuantile(50), w.latency.ValueAtQuantile(99), w.latency.Max())
	return nil
}

func (w *watchers) watch(ctx context.Context, query string, measure bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/stream"+query, http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+w.apiKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("open stream: %s", resp.Status)
	}
	w.open.Add(1)
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	gap := false
	for in.Scan() {
		line := in.Bytes()
		switch {
		case bytes.Equal(line, []byte("event: event")):
			w.events.Add(1)
		case bytes.Equal(line, []byte("event: gap")):
			gap = true
		case gap && bytes.HasPrefix(line, []byte("data: ")):
			var n int64
			if _, err := fmt.Sscanf(string(line), `data: {"missed":%d`, &n); err != nil {
				return fmt.Errorf("read gap %s: %w", line, err)
			}
			w.missed.Add(n)
			gap = false
		case measure && bytes.HasPrefix(line, []byte(`data: {"id"`)):
			w.note(line)
		}
	}
	return errors.Join(errors.New("the stream has ended"), in.Err())
}

// note measures how long ago the event of a data line was accepted.
func (w *watchers) note(line []byte) {
	const name, layout = `"created_at":"`, "2006-01-02T15:04:05.000Z"
	i := bytes.Index(line, []byte(name))
	if i < 0 || len(line) < i+len(name)+len(layout) {
		return
	}
	at, err := time.Parse(layout, string(line[i+len(name):i+len(name)+len(layout)]))
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.latency.RecordValue(max(time.Since(at).Milliseconds(), 1)) // only what is beyond ten minutes is refused
}
