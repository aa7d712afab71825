package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// flood is ten times what an instance takes: so many connections, and so many bytes of bodies.
type flood struct {
	*instance
	stop chan struct{}

	mu      sync.Mutex      // guards the following
	took    []time.Duration // by accepted requests
	ids     []int64
	refused int
	closed  int
	wrong   []string
}

// post sends events until it is stopped, one each period, or as fast as it can. It does not wait for Retry-After.
func (f *flood) post(client *http.Client, n int, period time.Duration) {
	due := time.NewTimer(period / time.Duration(1+n%7))
	defer due.Stop()
	for i := 0; ; i++ {
		select {
		case <-f.stop:
			return
		case <-due.C:
			due.Reset(period)
		}
		begin := time.Now()
		body := fmt.Sprintf(`{"key_id":"key-%d","event_type":"signing_request","severity":"nominal"}`, (n+i)%20)
		req, _ := http.NewRequest(http.MethodPost, f.url+"/api/events", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+f.apiKey)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			f.note(nil, nil, 0)
			continue
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			f.note(nil, nil, 0)
			continue
		}
		f.note(resp, answer, time.Since(begin))
	}
}

// note checks and counts an answer, nil for none.
func (f *flood) note(resp *http.Response, answer []byte, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var e event
	switch {
	case resp == nil:
		f.closed++
	case resp.StatusCode == http.StatusCreated && json.Unmarshal(answer, &e) == nil:
		f.ids = append(f.ids, e.ID)
		f.took = append(f.took, took)
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" && bytes.Contains(answer, []byte(`"code":"`)):
		f.refused++
	case len(f.wrong) < 10:
		f.wrong = append(f.wrong, fmt.Sprintf("%d %v %s", resp.StatusCode, resp.Header, answer))
	}
}

// load sends with so many clients for a time and returns how many requests were accepted in a second, and their p99.
func (f *flood) load(client *http.Client, connections int, period, lasts time.Duration) (rate float64, p99 time.Duration) {
	f.stop, f.took = make(chan struct{}), nil
	var clients sync.WaitGroup
	for n := range connections {
		clients.Go(func() { f.post(client, n, period) })
	}
	time.Sleep(lasts)
	close(f.stop)
	clients.Wait()
	slices.Sort(f.took)
	return float64(len(f.took)) / lasts.Seconds(), f.took[len(f.took)*99/100]
}

// announce announces a bulk request of 10 MiB and sends next to nothing of it, again and again.
func (f *flood) announce() {
	for {
		select {
		case <-f.stop:
			return
		default:
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprintf(c, "POST /api/events/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\nx", f.apiKey, 10<<20)
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
}

// resident is the memory of the instance's process, in bytes; its ClickHouse is another one.
func (in *instance) resident() int64 {
	in.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", in.cmd.Process.Pid))
	if err != nil {
		in.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	if err != nil {
		in.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// Ten times the connections and bytes that a node takes: its memory stays flat, what it refuses it refuses well, and
// what it accepts is stored.
func TestFloodLosesNothing(t *testing.T) {
	const connections, inFlightMB = 32, 36
	lasts := 3 * time.Second
	soak := os.Getenv("KEYPULSE_SOAK") != ""
	if soak {
		lasts = time.Minute
	}
	in := newInstance(t)
	in.settings = append(in.settings, fmt.Sprintf("KEYPULSE_MAX_CONNECTIONS=%d", connections), fmt.Sprintf("KEYPULSE_IN_FLIGHT_MB=%d", inFlightMB))
	in.start()
	in.ready()
	in.withoutLimit()
	f := &flood{instance: in, stop: make(chan struct{})}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var half time.Duration // p99 at half load
	if soak {
		rate, _ := f.load(client, connections, 1, 5*time.Second)
		_, half = f.load(client, connections, time.Duration(2*connections/rate*float64(time.Second)), 10*time.Second)
		f.stop, f.took = make(chan struct{}), nil
	}
	before := in.resident()
	var clients sync.WaitGroup
	for n := range 10 * connections {
		clients.Go(func() { f.post(client, n, 1) })
	}
	for range 10 * inFlightMB / 16 {
		clients.Go(f.announce)
	}
	var peaks [2]int64 // of each half
	for begin := time.Now(); time.Since(begin) < lasts; time.Sleep(50 * time.Millisecond) {
		half := int(2 * time.Since(begin) / (lasts + 1))
		peaks[min(half, 1)] = max(peaks[min(half, 1)], in.resident())
	}
	close(f.stop)
	clients.Wait()

	t.Logf("%d accepted, %d refused, %d without an answer; %d MiB before, peaks %d and %d MiB",
		len(f.ids), f.refused, f.closed, before>>20, peaks[0]>>20, peaks[1]>>20)
	for _, wrong := range f.wrong {
		t.Errorf("neither accepted nor refused well: %s", wrong)
	}
	if len(f.ids) == 0 || f.refused == 0 {
		t.Errorf("%d accepted, %d refused: no flood", len(f.ids), f.refused)
	}
	// Twice the bodies, for Go frees late; and the connections, and what an instance grows by under any load.
	if bound := before + 2*inFlightMB<<20 + 96<<20; max(peaks[0], peaks[1]) > bound {
		t.Errorf("memory peaks at %d MiB, over %d", max(peaks[0], peaks[1])>>20, bound>>20)
	}
	if soak {
		slices.Sort(f.took)
		p99 := f.took[len(f.took)*99/100]
		t.Logf("p99 of the accepted: %v at half load, %v in the flood", half, p99)
		if p99 > 4*half {
			t.Errorf("the flood's p99 is %v, at half load %v", p99, half)
		}
	}
	output(t, in.settings, "verify", "--wait", "60s")
	if !soak {
		in.stored(t, f.ids)
		return
	}
	await(t, "everything accepted is counted", time.Minute, func() error {
		var stats struct {
			Total int `json:"total_events"`
		}
		in.call("GET", "/api/stats", "").into(t, &stats)
		if stats.Total < len(f.ids) {
			return fmt.Errorf("%d of %d", stats.Total, len(f.ids))
		}
		return nil
	})
}
