package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"keypulse/schema"
)

// LoadConfig says which events [Load] puts into the tables. Start from [DefaultLoadConfig].
type LoadConfig struct {
	Tenant schema.Tenant // whose they are; default bench
	Events int           // how many; default 1,000,000
	Keys   int           // of how many keys, each with one event at least; default 100,000
	Skew   float64       // the Zipf exponent of events over keys; default 1
	Days   int           // over so many days, evenly; default 90
	Until  time.Time     // the end of the last of them; default now, cut to the minute
	Block  int           // rows of one INSERT; default 100,000, as much as a sink sends
	Seed   uint64        // fixes the events; default 1
	// Progress is called after each INSERT.
	Progress func(rows int)
}

// DefaultLoadConfig returns the defaults.
func DefaultLoadConfig() LoadConfig {
	return LoadConfig{
		Tenant: "bench", Events: 1_000_000, Keys: 100_000, Skew: 1, Days: 90, Until: time.Now().UTC().Truncate(time.Minute), Block: 100_000, Seed: 1,
		Progress: func(int) {},
	}
}

// Flags declares a flag for every field; what c holds are the defaults.
func (c *LoadConfig) Flags(fs *flag.FlagSet) {
	fs.Func("tenant", "the `company` whose events they are (default bench)", func(s string) error {
		c.Tenant = schema.Tenant(s)
		return nil
	})
	fs.IntVar(&c.Events, "events", c.Events, "how many events")
	fs.IntVar(&c.Keys, "keys", c.Keys, "different keys, each with one event at least")
	fs.Float64Var(&c.Skew, "skew", c.Skew, "Zipf exponent of events over keys (0 = uniform)")
	fs.IntVar(&c.Days, "days", c.Days, "days over which they are spread")
	fs.Func("until", "RFC 3339 `time` of their end (default now, cut to the minute)", func(s string) (err error) {
		c.Until, err = time.Parse(time.RFC3339, s)
		return err
	})
	fs.IntVar(&c.Block, "block", c.Block, "`rows` of one INSERT")
	fs.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the events")
}

// Validate names the first field that Load would refuse.
func (c *LoadConfig) Validate() error {
	for _, check := range []struct {
		field string
		ok    bool
		want  string
	}{
		{"Tenant", c.Tenant != "", "must not be empty"},
		{"Events", 1 <= c.Events && c.Events <= maxEvents, fmt.Sprintf("must be 1 to %d", maxEvents)},
		{"Keys", 1 <= c.Keys && c.Keys <= maxKeys && c.Keys <= c.Events, fmt.Sprintf("must be 1 to %d and at most Events", maxKeys)},
		{"Skew", 0 <= c.Skew && c.Skew <= maxSkew, fmt.Sprintf("must be 0 to %d", maxSkew)},
		{"Days", 1 <= c.Days && c.Days <= 3650, "must be 1 to 3650"},
		{"Block", 1 <= c.Block && c.Block <= maxLoadBlock, fmt.Sprintf("must be 1 to %d", maxLoadBlock)},
	} {
		if !check.ok {
			return fmt.Errorf("validate load config: %s: %s", check.field, check.want)
		}
	}
	return nil
}

const maxLoadBlock = 4_000_000

// errTorn says that a load broke off in the middle of an INSERT.
var errTorn = errors.New("a load broke off in the middle of an INSERT: take an empty installation")

// Load writes events as the sink does: as blocks of rows into landing, whose views fill every table. They stand in partitions
// from [loadPartition] on, which no log of ours has, so that a running KeyPulse shows them and its sink does not miss them in
// the log. They have verdicts, as if rules had judged them. Two loads with one config and Until write the same rows; a load that
// broke off between two INSERTs goes on where it ended.
func Load(ctx context.Context, db driver.Conn, cfg LoadConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	loaded, err := countLoaded(ctx, db)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	blocks := make(chan *loadBlock, 1) // the next one is made while one is sent
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(blocks)
		m := newLoadMaker(cfg)
		m.skip(loaded)
		for m.made < cfg.Events {
			select {
			case blocks <- m.block(min(cfg.Block, cfg.Events-m.made)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		sent := loaded
		for b := range blocks {
			if err := b.send(ctx, db); err != nil {
				return fmt.Errorf("load after %d events: %w", sent, err)
			}
			sent += len(b.id)
			cfg.Progress(sent)
		}
		return nil
	})
	return g.Wait()
}

// countLoaded is how many events are there, in every table.
func countLoaded(ctx context.Context, db driver.Conn) (int, error) {
	var n [3]uint64
	for i, counted := range []string{"sum(n_all) FROM totals", "sum(n_all) FROM keys", "count() FROM events"} {
		if err := db.QueryRow(ctx, fmt.Sprintf("SELECT %s WHERE kafka_partition >= %d", counted, loadPartition)).Scan(&n[i]); err != nil {
			return 0, err
		}
	}
	if n[0] != n[1] || n[0] != n[2] {
		return 0, errTorn
	}
	return int(n[0]), nil
}

// send writes a block and its alerts.
func (b *loadBlock) send(ctx context.Context, db driver.Conn) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 0}))
	if err := sendColumns(ctx, db, insertLanding, b.columns()); err != nil {
		return err
	}
	if len(b.alert.id) == 0 {
		return nil
	}
	return sendColumns(ctx, db, insertAlerts, b.alert.columns())
}

func sendColumns(ctx context.Context, db driver.Conn, statement string, columns []any) error {
	batch, err := db.PrepareBatch(ctx, statement)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i, column := range columns {
		if err := batch.Column(i).Append(column); err != nil {
			return err
		}
	}
	return batch.Send()
}
