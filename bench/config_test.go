package bench

import (
	"bytes"
	"flag"
	"math"
	"strings"
	"testing"
	"time"
)

func TestValidateNamesTheField(t *testing.T) {
	f := func(field string, change func(c *Config)) {
		t.Helper()
		c := DefaultConfig()
		c.APIKey = testKey
		change(&c)
		err := c.Validate()
		if field == "" && err != nil {
			t.Errorf("refused: %v", err)
		}
		if field != "" && (err == nil || !strings.HasPrefix(err.Error(), "validate bench config: "+field+": ")) {
			t.Errorf("want an error about %s, got %v", field, err)
		}
	}
	f("", func(*Config) {})
	f("", func(c *Config) { c.URL = "http://localhost:1/" })
	f("", func(c *Config) { c.URL = "https://[::1]:1" })
	f("", func(c *Config) { c.URL, c.AllowRemote = "http://keypulse.example", true })
	f("", func(c *Config) { c.Events, c.Duration, c.Rate = 1, 0, 0 })
	f("URL", func(c *Config) { c.URL = "http://keypulse.example" })
	f("URL", func(c *Config) { c.URL = "http://10.0.0.1:8080" })
	f("URL", func(c *Config) { c.URL = "http://127.0.0.1.example" })
	f("URL", func(c *Config) { c.URL = "127.0.0.1:8080" })
	f("URL", func(c *Config) { c.URL = "ftp://127.0.0.1" })
	f("URL", func(c *Config) { c.URL = "http://127.0.0.1/api" })
	f("URL", func(c *Config) { c.URL = "http://me:secret@127.0.0.1" })
	f("URL", func(c *Config) { c.URL = "http://:8080" })
	f("APIKey", func(c *Config) { c.APIKey = "" })
	f("Events", func(c *Config) { c.Events = -1 })
	f("Duration", func(c *Config) { c.Duration = -1 })
	f("Duration", func(c *Config) { c.Duration = 0 })
	f("WarmUp", func(c *Config) { c.WarmUp = -1 })
	f("Rate", func(c *Config) { c.Rate = -1 })
	f("Rate", func(c *Config) { c.Rate = math.NaN() })
	f("Rate", func(c *Config) { c.Rate = math.Inf(1) })
	f("Rate", func(c *Config) { c.Rate, c.Duration = 1, time.Millisecond })
	f("Keys", func(c *Config) { c.Keys = 0 })
	f("Skew", func(c *Config) { c.Skew = math.NaN() })
	f("Batch", func(c *Config) { c.Batch = 101 })
	f("Connections", func(c *Config) { c.Connections = 0 })
	f("Timeout", func(c *Config) { c.Timeout = 0 })
	f("AlertEvery", func(c *Config) { c.Alerts, c.AlertEvery = true, 0 })
}

func TestFlags(t *testing.T) {
	c := DefaultConfig()
	c.APIKey = "kp_live_secret"
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var usage bytes.Buffer
	fs.SetOutput(&usage)
	c.Flags(fs)
	fs.PrintDefaults()
	if strings.Contains(usage.String(), "kp_live_secret") {
		t.Error("the usage text shows the API key")
	}
	err := fs.Parse(strings.Fields("--url http://x --api-key k --allow-remote --events 1 --duration 2s --warm-up 3s --rate 4.5" +
		" --keys 5 --skew 0.6 --batch 7 --connections 8 --timeout 9s --seed 10 --async --alerts --alert-every 11"))
	want := Config{
		URL: "http://x", APIKey: "k", AllowRemote: true, Events: 1, Duration: 2 * time.Second, WarmUp: 3 * time.Second,
		Rate: 4.5, Keys: 5, Skew: 0.6, Batch: 7, Connections: 8, Timeout: 9 * time.Second, Seed: 10, Async: true,
		Alerts: true, AlertEvery: 11,
	}
	if err != nil || c != want {
		t.Errorf("parsed %+v, %v", c, err)
	}
}

func TestPlans(t *testing.T) {
	f := func(rate float64, events int, duration, warmUp time.Duration, measured, warm int64) {
		t.Helper()
		c := Config{Rate: rate, Events: events, Duration: duration, WarmUp: warmUp, Batch: 10}
		if m, w := c.measured(), c.warmUp(); m.events != measured || w.events != warm {
			t.Errorf("measured %d, warm-up %d", m.events, w.events)
		}
	}
	f(100, 0, 10*time.Second, 2*time.Second, 1000, 200)
	f(100, 50, 10*time.Second, 2*time.Second, 50, 5)
	f(100, 5, 0, 2*time.Second, 5, 0)
	f(100, 50, 0, 0, 50, 0)
	f(0, 50, 0, time.Second, 50, 5)
	f(0, 0, time.Second, time.Second, math.MaxInt64, math.MaxInt64)
}
