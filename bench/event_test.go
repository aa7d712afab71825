package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, got)
	}
}

func testGenerator(change func(c *Config)) *generator {
	cfg := DefaultConfig()
	change(&cfg)
	return newGenerator(&cfg)
}

func TestEventsAreAFunctionOfTheSeed(t *testing.T) {
	var got []byte
	one := testGenerator(func(c *Config) { c.Alerts, c.AlertEvery = true, 5 })
	for slot := range int64(10) {
		got = append(one.appendBody(got, phaseMeasured, slot, 1), '\n')
	}
	three := testGenerator(func(c *Config) { c.Batch, c.Seed = 3, 2 })
	got = append(three.appendBody(got, phaseMeasured, 0, 3), '\n')
	got = append(three.appendBody(got, phaseMeasured, 1, 2), '\n')
	golden(t, "events.golden", got)
}

func TestEventMix(t *testing.T) {
	const n = 20_000
	g := testGenerator(func(c *Config) { c.Keys = 100 })
	counts := map[string]int{}
	var body []byte
	for slot := range int64(n) {
		body = g.appendBody(body[:0], phaseMeasured, slot, 1)
		var e sentEvent
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		if err := e.check(); err != nil {
			t.Fatal(err)
		}
		counts[e.EventType]++
		counts[e.Severity]++
	}
	for _, w := range append(eventTypes[:], severities[:]...) {
		got, want := 100*float64(counts[w.value])/n, float64(w.percent)
		if math.Abs(got-want) > 2 {
			t.Errorf("%s: %.1f %%, want %.0f", w.value, got, want)
		}
	}
}

func TestZipf(t *testing.T) {
	const n, draws = 50, 200_000
	for _, skew := range []float64{0, 0.5, 0.99, 1, 1.5, 3} {
		z := newZipf(n, skew)
		r := newRandom(1, 2, 3)
		var counts [n + 1]float64
		for range draws {
			counts[z.rank(&r)]++
		}
		total := 0.0
		for k := 1; k <= n; k++ {
			total += math.Pow(float64(k), -skew)
		}
		for k := 1; k <= n; k++ {
			p := math.Pow(float64(k), -skew) / total
			sigma := math.Sqrt(draws * p * (1 - p))
			if math.Abs(counts[k]-draws*p) > 5*sigma+1 {
				t.Errorf("skew %v, rank %d: %v draws, want %.0f", skew, k, counts[k], draws*p)
			}
		}
	}
}

func TestZipfStaysInRange(t *testing.T) {
	for _, n := range []int{1, 2, maxKeys} {
		for _, skew := range []float64{0, 1, 1 + 1e-9, maxSkew} {
			z := newZipf(n, skew)
			r := newRandom(9, 9, 9)
			for range 1000 {
				if k := z.rank(&r); k < 1 || k > n {
					t.Fatalf("rank %d of %d at skew %v", k, n, skew)
				}
			}
		}
	}
}

func BenchmarkAppendBody(b *testing.B) {
	g := testGenerator(func(*Config) {})
	b.ReportAllocs()
	var body []byte
	slot := int64(0)
	for b.Loop() {
		body = g.appendBody(body[:0], phaseMeasured, slot, 1)
		slot++
	}
}
