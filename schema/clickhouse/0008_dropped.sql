-- Retention drops the oldest months of events and keeps the rollups. What it drops is recorded first, so that the proof still adds up.
CREATE TABLE IF NOT EXISTS dropped
(
    kafka_partition UInt16 COMMENT 'The partition of the log',
    last_id UInt64 COMMENT 'The largest events.id that was dropped: so were all before it',
    rows UInt64 COMMENT 'How many rows of events were dropped, those of lines before this one not counted',
    ids UInt64 COMMENT 'The sum of their ids, modulo 2^64',
    alerts UInt64 COMMENT 'The sum of their alerts',
    pointed UInt64 COMMENT 'How many of them key_points counts',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the line was written, just before the rows were dropped'
)
ENGINE = ReplacingMergeTree
ORDER BY (kafka_partition, last_id)
COMMENT 'What retention dropped from events; rollups, alerts and actions on alerts stay';
