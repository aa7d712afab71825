package sink

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/schema"
)

const insertAudit = `INSERT INTO audit (tenant, at, action, outcome, target, version, by, remote, request_id, changes, kafka_offset)`

// insertAudit stores records as one block. One that cannot be decoded is passed over.
func (s *Sink) insertAudit(ctx context.Context, records []broker.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.cfg.DB.PrepareBatch(ctx, insertAudit)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := range records {
		r, err := schema.DecodeAudit(records[i].Value)
		if err != nil {
			s.log.Warn("a line of the audit is passed over", zap.Int64("offset", records[i].Offset), zap.Error(err))
			continue
		}
		err = batch.Append(string(r.Tenant), r.At.Time(), r.Action, string(r.Outcome), r.Target, uint64(r.Version), r.By, r.Remote, r.RequestID, r.Changes, uint64(records[i].Offset))
		if err != nil {
			return err
		}
	}
	if batch.Rows() == 0 {
		return nil
	}
	return batch.Send()
}
