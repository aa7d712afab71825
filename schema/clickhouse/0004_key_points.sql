CREATE TABLE IF NOT EXISTS key_points
(
    tenant LowCardinality(String) COMMENT 'The company that the key belongs to',
    key_id String COMMENT 'The key',
    day Date COMMENT 'The day of created_at, UTC',
    kafka_partition UInt16 COMMENT 'The partition of the log that holds all events of the key',
    n SimpleAggregateFunction(sum, UInt64) COMMENT 'Events to which rules gave points, duplicates left out',
    points SimpleAggregateFunction(sum, UInt64) COMMENT 'Their points: score less the base of the severity',
    weighted SimpleAggregateFunction(sum, Float64) COMMENT 'Their points, each times 2^(part of the day that had passed): the key''s risk at a time t is the sum over the days of weighted * 2^-(days from day to t), at most 100'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, key_id, day, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What rules have given the events of a key, by day: sum and group when you read. Risk halves in 24 hours';

CREATE MATERIALIZED VIEW IF NOT EXISTS key_points_mv TO key_points AS
SELECT
    tenant,
    key_id,
    toDate(created_at) AS day,
    kafka_partition,
    count() AS n,
    sum(event_points) AS points,
    sum(event_points * exp2(toUnixTimestamp64Milli(created_at) % 86400000 / 86400000)) AS weighted
FROM
(
    SELECT
        tenant,
        key_id,
        created_at,
        kafka_partition,
        score - multiIf(severity = 'critical', 30, severity = 'warning', 10, 0) AS event_points
    FROM events
    WHERE duplicate_of = 0
)
WHERE event_points > 0
GROUP BY tenant, key_id, day, kafka_partition;
