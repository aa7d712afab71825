package bench

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestLoadIsAFunctionOfItsConfig makes the same events in one go and in two: they are the same, every key has one, and the ids of a
// partition have no gaps.
func TestLoadIsAFunctionOfItsConfig(t *testing.T) {
	cfg := DefaultLoadConfig()
	cfg.Events, cfg.Keys, cfg.Until = 5000, 300, time.Date(2026, 4, 5, 12, 34, 0, 0, time.UTC)
	whole := newLoadMaker(cfg)
	first, rest := whole.block(2100), whole.block(2900)
	later := newLoadMaker(cfg)
	later.skip(2100)
	if again := later.block(2900); !reflect.DeepEqual(rest, again) {
		t.Error("a load that goes on makes other events")
	}
	offsets := map[uint16][]uint64{}
	keys := map[string]bool{}
	for _, b := range []*loadBlock{first, rest} {
		for i, p := range b.partition {
			offsets[p] = append(offsets[p], b.offset[i])
			keys[b.keyID[i]] = true
		}
		if !slices.IsSorted(b.createdAt) {
			t.Error("times fall")
		}
	}
	for p, all := range offsets {
		for i, offset := range all {
			if offset != uint64(i) {
				t.Fatalf("partition %d has offset %d at place %d", p, offset, i)
			}
		}
	}
	if len(keys) != cfg.Keys {
		t.Errorf("%d keys, want %d", len(keys), cfg.Keys)
	}
}

// TestLoadConfig names the field that is wrong.
func TestLoadConfig(t *testing.T) {
	for _, change := range []func(*LoadConfig){
		func(c *LoadConfig) { c.Tenant = "" },
		func(c *LoadConfig) { c.Events = 0 },
		func(c *LoadConfig) { c.Keys = c.Events + 1 },
		func(c *LoadConfig) { c.Skew = -1 },
		func(c *LoadConfig) { c.Days = 0 },
		func(c *LoadConfig) { c.Block = 0 },
	} {
		cfg := DefaultLoadConfig()
		change(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
