CREATE TABLE IF NOT EXISTS keys
(
    tenant LowCardinality(String) COMMENT 'The company that the key belongs to',
    key_id String COMMENT 'The key',
    kafka_partition UInt16 COMMENT 'The partition of the log that holds all events of the key',
    n_all SimpleAggregateFunction(sum, UInt64) COMMENT 'Rows of events, duplicates included: the proof that none is missing',
    n SimpleAggregateFunction(sum, UInt64) COMMENT 'Events, duplicates left out',
    first_activity SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'The first event''s created_at, duplicates left out; NULL where the line counts only duplicates',
    last_activity SimpleAggregateFunction(max, Nullable(DateTime64(3, 'UTC'))) COMMENT 'The last event''s created_at, the same way'
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant, key_id, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One line for each key and block of rows, merged in the background: sum and group when you read';

CREATE MATERIALIZED VIEW IF NOT EXISTS keys_mv TO keys AS
SELECT
    tenant,
    key_id,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n,
    minOrNullIf(created_at, duplicate_of = 0) AS first_activity,
    maxOrNullIf(created_at, duplicate_of = 0) AS last_activity
FROM events
GROUP BY tenant, key_id, kafka_partition;

CREATE TABLE IF NOT EXISTS activity_by_minute
(
    tenant LowCardinality(String) COMMENT 'The company',
    minute DateTime('UTC') COMMENT 'The start of the minute of created_at' CODEC(Delta, ZSTD(1)),
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    kafka_partition UInt16 COMMENT 'The partition of the log',
    n_all SimpleAggregateFunction(sum, UInt64) COMMENT 'Rows of events, duplicates included',
    n SimpleAggregateFunction(sum, UInt64) COMMENT 'Events, duplicates left out'
)
ENGINE = AggregatingMergeTree
ORDER BY (minute, tenant, severity, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Events by minute and severity: sum and group when you read';

CREATE MATERIALIZED VIEW IF NOT EXISTS activity_by_minute_mv TO activity_by_minute AS
SELECT
    tenant,
    toStartOfMinute(created_at) AS minute,
    severity,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n
FROM events
GROUP BY tenant, minute, severity, kafka_partition;

CREATE TABLE IF NOT EXISTS totals
(
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    kafka_partition UInt16 COMMENT 'The partition of the log',
    n_all SimpleAggregateFunction(sum, UInt64) COMMENT 'Rows of events, duplicates included',
    n SimpleAggregateFunction(sum, UInt64) COMMENT 'Events, duplicates left out'
)
ENGINE = AggregatingMergeTree
ORDER BY (severity, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'All events of all tenants by severity: sum and group when you read';

CREATE MATERIALIZED VIEW IF NOT EXISTS totals_mv TO totals AS
SELECT
    severity,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n
FROM events
GROUP BY severity, kafka_partition;
