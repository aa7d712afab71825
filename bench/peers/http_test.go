package peers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// event is what is sent, as large as README's examples make it.
const event = `{"key_id":"my-signing-key-01","event_type":"signing_request","severity":"nominal","source_ip":"10.0.0.1",` +
	`"actor":"service-account@myapp.com","details":{"amount_usd":12500.5,"destination":"bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh",` +
	`"chain":"bitcoin","approvals":["alice","bob"]}}`

const batchEvents = 100

// httpServer is something that takes events over HTTP, in a process of its own.
type httpServer struct {
	name string
	child
	apiKey string
}

func (s httpServer) single() []byte { return s.request("/api/events", event) }

func (s httpServer) batch() []byte {
	return s.request("/api/events/batch", `{"events":[`+strings.Repeat(event+",", batchEvents-1)+event+`]}`)
}

func (s httpServer) request(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nPrefer: respond-async\r\nContent-Length: %d\r\n\r\n%s",
		path, s.apiKey, len(body), body)
}

// BenchmarkHTTP is a KeyPulse ingest node, the binary as users run it, beside a Fiber handler that does nothing and beside
// the pair encoding/json and kafka.Writer: each in a process of its own, the broker in another one, turns of a second one
// after the other. One iteration is one turn of each: use -benchtime 5x. What is reported are medians.
func BenchmarkHTTP(b *testing.B) {
	addr := startBroker(b, "embedded")
	n := buildNode(b, addr)
	node, _, stop := n.start(b)
	b.Cleanup(stop)
	ours := httpServer{"keypulse", node, n.apiKey}
	awaitServer(b, ours)
	empty := httpServer{"empty", startChild(b, "empty", ""), n.apiKey}
	naive := httpServer{"naive", startChild(b, "naive", addr), n.apiKey}
	servers := []httpServer{ours, empty, naive}

	b.Run("single", func(b *testing.B) { // 64 connections
		serveInTurns(b, servers, 64, 1, httpServer.single)
	})
	b.Run("batch", func(b *testing.B) {
		floor := measureFloors(b, addr)
		serveInTurns(b, servers, 16, batchEvents, httpServer.batch, floor...)
	})
	b.Run("unloaded", func(b *testing.B) {
		times := make([][]float64, len(servers))
		for b.Loop() {
			for i, s := range servers {
				times[i] = append(times[i], float64(unloaded(b, s).Microseconds()))
			}
		}
		for i, s := range servers {
			b.ReportMetric(median(times[i]), s.name+"-p50-µs")
		}
		b.ReportMetric(median(ratios(times[0], times[1])), "p50-of-empty")
		b.ReportMetric(0, "ns/op")
	})
}

func awaitServer(b *testing.B, s httpServer) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatal("the node does not listen")
		}
	}
}

// serveInTurns lets each server, and then each floor, have its turns.
func serveInTurns(b *testing.B, servers []httpServer, connections, events int, request func(httpServer) []byte, floors ...floor) {
	b.Helper()
	rate, cpu := make([][]float64, len(servers)), make([][]float64, len(servers))
	floorRate, floorCPU := make([][]float64, len(floors)), make([][]float64, len(floors))
	for _, s := range servers {
		load(b, s, connections, events, request(s))
	}
	for b.Loop() {
		for i, s := range servers {
			r, c := load(b, s, connections, events, request(s))
			rate[i], cpu[i] = append(rate[i], r), append(cpu[i], c)
		}
		for i, f := range floors {
			r, c := f.turn(b)
			floorRate[i], floorCPU[i] = append(floorRate[i], r), append(floorCPU[i], c)
		}
	}
	for i, s := range servers {
		b.ReportMetric(median(rate[i]), s.name+"-events/s")
		b.ReportMetric(median(cpu[i]), s.name+"-cpu-ns/event")
		if i > 0 {
			b.ReportMetric(median(ratios(rate[0], rate[i])), "rate-of-"+s.name)
			b.ReportMetric(median(ratios(cpu[0], cpu[i])), "cpu-of-"+s.name)
		}
	}
	if len(floors) > 0 {
		sum := slices.Clone(cpu[1]) // reading the same requests, which the empty handler does
		for i, f := range floors {
			b.ReportMetric(median(floorCPU[i]), f.name+"-cpu-ns/event")
			for turn := range sum {
				sum[turn] += floorCPU[i][turn]
			}
		}
		b.ReportMetric(median(ratios(cpu[0], sum)), "cpu-of-floors")
		b.ReportMetric(median(floorRate[len(floors)-1]), "producer-events/s")
		b.ReportMetric(median(ratios(rate[0], floorRate[len(floors)-1])), "rate-of-producer")
	}
	b.ReportMetric(0, "ns/op")
}

// load sends requests of so many events on so many connections for a second, and returns the events a second and the CPU time
// that the server spent on one.
func load(b *testing.B, s httpServer, connections, events int, request []byte) (rate, cpu float64) {
	b.Helper()
	var done atomic.Int64
	var clients sync.WaitGroup
	conns := make([]*clientConn, connections)
	for i := range conns {
		conns[i] = dial(b, s.addr)
		conns[i].exchange(b, request)
	}
	before, began := s.cpu(b), time.Now()
	for _, c := range conns {
		clients.Go(func() {
			for time.Since(began) < sliceTime {
				if !c.exchange(b, request) {
					return
				}
				done.Add(int64(events))
			}
		})
	}
	clients.Wait()
	took, spent := time.Since(began), s.cpu(b)-before
	for _, c := range conns {
		c.Close()
	}
	return float64(done.Load()) / took.Seconds(), float64(spent.Nanoseconds()) / float64(done.Load())
}

// unloaded is the p50 of one client's requests, one at a time.
func unloaded(b *testing.B, s httpServer) time.Duration {
	b.Helper()
	c, request := dial(b, s.addr), s.single()
	defer c.Close()
	var times []time.Duration
	for began := time.Now(); time.Since(began) < sliceTime; {
		start := time.Now()
		if !c.exchange(b, request) {
			break
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// clientConn is a client's connection that costs little itself.
type clientConn struct {
	net.Conn
	in *bufio.Reader
}

func dial(b *testing.B, addr string) *clientConn {
	b.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	return &clientConn{c, bufio.NewReaderSize(c, 64<<10)}
}

// exchange sends a request and reads its answer, which must be 202.
func (c *clientConn) exchange(b *testing.B, request []byte) bool {
	if _, err := c.Write(request); err != nil {
		b.Error(err)
		return false
	}
	length := 0
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			b.Error(err)
			return false
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 202 ")) {
			b.Errorf("the answer is %s", line)
			return false
		}
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				b.Error(err)
				return false
			}
		}
	}
	if _, err := io.CopyN(io.Discard, c.in, int64(length)); err != nil {
		b.Error(err)
		return false
	}
	return true
}

// BenchmarkFirstAck is the time from a node's execution to its first acknowledged event, with the broker up.
func BenchmarkFirstAck(b *testing.B) {
	n := buildNode(b, startBroker(b, "embedded"))
	n.firstAck(b)
	var times []float64
	for b.Loop() {
		times = append(times, float64(n.firstAck(b).Microseconds())/1000)
	}
	b.ReportMetric(median(times), "ms-p50")
	b.ReportMetric(slices.Max(times), "ms-max")
	b.ReportMetric(0, "ns/op")
}
