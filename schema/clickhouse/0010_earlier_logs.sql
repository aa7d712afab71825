-- A log that was made anew begins with a larger base, so its ids are above those of the one before. The verification looks at the
-- rows of the log that is there; of what the rollups count it subtracts what they had counted when that log began.
CREATE TABLE IF NOT EXISTS earlier_logs
(
    base UInt64 COMMENT 'The base of the log that began then',
    kafka_partition UInt16 COMMENT 'The partition of the logs before it',
    rollup LowCardinality(String) COMMENT 'The table that counts',
    counted Int64 COMMENT 'How many events it had counted'
)
ENGINE = ReplacingMergeTree
ORDER BY (base, kafka_partition, rollup)
COMMENT 'What the rollups had counted when a new log began (keypulse migrate --new-log)';
