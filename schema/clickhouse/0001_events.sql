CREATE TABLE IF NOT EXISTS events
(
    tenant LowCardinality(String) COMMENT 'The company that the event belongs to',
    key_id String COMMENT 'The key that the event is about',
    id UInt64 COMMENT 'Unique: (base + kafka_offset) * 1024 + kafka_partition',
    event_id String COMMENT 'The client''s own identity of the event, or a UUIDv7 made by the server',
    event_type LowCardinality(String) COMMENT 'signing_request, key_access, rotation, export, policy_change, or any other',
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    source_ip String COMMENT 'Canonical text of the address, empty where none was sent',
    actor String COMMENT 'Who caused the event, empty where none was sent',
    details String COMMENT 'The JSON object byte for byte as it was sent, {} where none was sent' CODEC(ZSTD(1)),
    created_at DateTime64(3, 'UTC') COMMENT 'When KeyPulse accepted the event' CODEC(Delta, ZSTD(1)),
    score UInt8 COMMENT '0 to 100: the base of the severity and the scores of the rules that held',
    alerts UInt16 COMMENT 'How many alerts the event raised',
    duplicate_of UInt64 COMMENT 'The id of the first event with the same event_id; 0 for the first one itself',
    kafka_partition UInt16 COMMENT 'Where the event stands in the log',
    kafka_offset UInt64 COMMENT 'Where the event stands in its partition; without gaps' CODEC(Delta, ZSTD(1)),
    log_time DateTime64(3, 'UTC') COMMENT 'The largest created_at of the partition so far: never falls, so that retention drops a prefix' CODEC(Delta, ZSTD(1)),
    PROJECTION by_key (SELECT * ORDER BY tenant, key_id, created_at, id)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(log_time)
ORDER BY (tenant, created_at, id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every event with its verdict, one row each; written once, never corrected';
