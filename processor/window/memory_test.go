package window

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"keypulse/rules"
	"keypulse/schema"
)

// TestMemoryOfColdKeys fills a store with keys of one to four events each, a million in a soak, and looks at what the
// whole process holds: keys and windows live outside of the garbage collector's heap.
func TestMemoryOfColdKeys(t *testing.T) {
	for _, c := range []struct {
		name       string
		bound      int // bytes for a key
		aggregates []string
	}{
		{"a count and a sum", 256, []string{`count("10m")`, `sum("10m", details.v)`}},
		{"twelve", 1024, []string{
			`count("10m")`, `sum("10m", details.v)`, `distinct("10m", source_ip)`, `count("1h", severity == "nominal")`,
			`max("1h", details.v)`, `avg("15m", details.v)`, `count("24h", event_type != "export")`, `rate("1m")`,
			`first_seen("24h", source_ip)`, `sum("24h", details.v)`, `distinct("1h", actor)`, `since_last(event_type != "export")`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := scaled(50_000, 1_000_000)
			set := newSet(t, "r", c.aggregates...)
			before := resident(t)
			store := New(Config{KeysPerTenant: keys})
			fill(store, set, keys)
			perKey := (resident(t) - before) / keys
			t.Logf("%d keys: %d bytes a key, %d by the store's own count", keys, perKey, store.Bytes()/keys)
			if store.Keys() != keys || store.Evicted() != 0 {
				t.Fatalf("%d keys are held, %d were evicted", store.Keys(), store.Evicted())
			}
			if perKey > c.bound {
				t.Errorf("a key takes %d bytes, want at most %d", perKey, c.bound)
			}
			runtime.KeepAlive(store)
		})
	}
}

// fill gives each key its one to four events, in random order and far enough apart in time for no window to end.
func fill(store *Store, set *rules.Set, keys int) {
	r := rand.New(rand.NewPCG(1, 2))
	order := make([]int32, 0, keys*5/2)
	for k := range int32(keys) {
		for range 1 + k%4 {
			order = append(order, k)
		}
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, k := range order {
		e := schema.Event{
			Tenant: "acme", KeyID: fmt.Sprintf("key-%07d", k), Type: "signing_request", Severity: schema.Nominal,
			SourceIP: fmt.Sprintf("10.0.%d.%d", k%250, r.IntN(4)), Actor: "service@example.com", CreatedAt: start + schema.Millis(i)*50_000/schema.Millis(len(order)),
			Details: fmt.Appendf(nil, `{"v":%d.5}`, i%1000),
		}
		store.Observe(set, &e)
	}
}

// resident is the memory of the whole process, without what the garbage collector could give back.
func resident(t *testing.T) int {
	debug.FreeOSMemory()
	var pages, held int
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(statm), &pages, &held)
	}
	if err != nil {
		t.Skipf("this system does not say how much memory a process has: %v", err)
	}
	return held * os.Getpagesize()
}
