package sink

import (
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const insertKeys = `INSERT INTO described_keys (tenant, key_id, version, name, key_type, status, tags, rotation_period, by, at, kafka_offset)`

// keysAtOnce bounds the keys that one statement asks for.
const keysAtOnce = 500

// insertKeys stores the records that count: one that is no next version, or over the tenant's limit, changes nothing, as for
// everyone who reads the topic. The table has decided about all records before these, so the decision is the log's alone,
// whoever makes it again.
func (s *Sink) insertKeys(ctx context.Context, records []broker.Record) error {
	for some := range slices.Chunk(records, keysAtOnce) {
		if err := s.insertSomeKeys(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) insertSomeKeys(ctx context.Context, records []broker.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	said := s.decodeKeys(records)
	if len(said) == 0 {
		return nil
	}
	known, err := s.describedBefore(ctx, said)
	if err != nil {
		return err
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.cfg.DB.PrepareBatch(ctx, insertKeys)
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, r := range said {
		if !known.take(r.KeyRecord) {
			continue
		}
		tags := append([]string{}, r.Tags...)
		err := batch.Append(string(r.Tenant), r.KeyID, uint64(r.Version), r.Name, r.KeyType, r.Status, tags, r.RotationPeriod, r.By, r.At.Time(), uint64(r.offset))
		if err != nil {
			return err
		}
	}
	if batch.Rows() == 0 {
		return nil
	}
	return batch.Send()
}

// saidOfKey is a record with its place in the topic.
type saidOfKey struct {
	schema.KeyRecord
	offset int64
}

func (s *Sink) decodeKeys(records []broker.Record) (said []saidOfKey) {
	for i := range records {
		r, err := schema.DecodeKeyRecord(records[i].Key, records[i].Value)
		if err != nil {
			s.log.Warn("what is said of a key is passed over", zap.Int64("offset", records[i].Offset), zap.Error(err))
			continue
		}
		said = append(said, saidOfKey{r, records[i].Offset})
	}
	return said
}

// describedKeys is what decides about records: the current version of the keys that they are about, and how many keys each tenant
// has described.
type describedKeys struct {
	versions map[string]int64 // by schema.RecordKey
	keys     map[schema.Tenant]int64
}

// describedBefore asks the table.
func (s *Sink) describedBefore(ctx context.Context, said []saidOfKey) (describedKeys, error) {
	known := describedKeys{map[string]int64{}, map[schema.Tenant]int64{}}
	var tenants, keys []string
	for _, r := range said {
		tenants, keys = append(tenants, string(r.Tenant)), append(keys, r.KeyID)
	}
	args := []any{clickhouse.Named("tenants", tenants), clickhouse.Named("keys", keys)}
	const versions = `SELECT tenant, key_id, toInt64(max(version)) FROM described_keys
		WHERE tenant IN {tenants:Array(String)} AND key_id IN {keys:Array(String)} GROUP BY tenant, key_id`
	rows, err := s.cfg.DB.Query(ctx, versions, args...)
	if err != nil {
		return known, fmt.Errorf("read versions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var tenant, key string
		var version int64
		if err := rows.Scan(&tenant, &key, &version); err != nil {
			return known, fmt.Errorf("read versions: %w", err)
		}
		known.versions[string(schema.RecordKey(schema.Tenant(tenant), key))] = version
	}
	if err := rows.Err(); err != nil {
		return known, fmt.Errorf("read versions: %w", err)
	}
	counts, err := s.cfg.DB.Query(ctx, "SELECT tenant, toInt64(uniqExact(key_id)) FROM described_keys WHERE tenant IN {tenants:Array(String)} GROUP BY tenant", args[0])
	if err != nil {
		return known, fmt.Errorf("count described keys: %w", err)
	}
	defer counts.Close()
	for counts.Next() {
		var tenant string
		var n int64
		if err := counts.Scan(&tenant, &n); err != nil {
			return known, fmt.Errorf("count described keys: %w", err)
		}
		known.keys[schema.Tenant(tenant)] = n
	}
	return known, counts.Err()
}

// take says whether a record counts, and counts it.
func (d describedKeys) take(r schema.KeyRecord) bool {
	key := string(schema.RecordKey(r.Tenant, r.KeyID))
	last := d.versions[key]
	if r.Version != last+1 || last == 0 && d.keys[r.Tenant] >= schema.MaxDescribed {
		return false
	}
	if last == 0 {
		d.keys[r.Tenant]++
	}
	d.versions[key] = r.Version
	return true
}
