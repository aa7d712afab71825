CREATE TABLE IF NOT EXISTS rule_counts
(
    tenant LowCardinality(String) COMMENT 'The company that the rule belongs to',
    rule_id String COMMENT 'The rule',
    rule_version UInt32 COMMENT 'The version of the rule',
    kafka_partition UInt16 COMMENT 'The partition of the log whose events are counted',
    log_base UInt64 COMMENT 'Which log that is: the base of its ids. A log that was made anew counts from 0',
    hits UInt64 COMMENT 'For how many events it has held in live mode, those that raised an alert included',
    shadow_hits UInt64 COMMENT 'For how many events it has held in shadow mode',
    errors UInt64 COMMENT 'For how many events it has failed',
    error_event_id UInt64 COMMENT 'The id of the last event for which it failed; 0: none',
    error_at DateTime64(3, 'UTC') COMMENT 'created_at of that event',
    error_message String COMMENT 'What failed and why',
    last_id UInt64 COMMENT 'The largest events.id up to which this line counts'
)
ENGINE = ReplacingMergeTree(last_id)
ORDER BY (tenant, rule_id, rule_version, kafka_partition, log_base)
COMMENT 'How often each version of a rule has held and failed: the line with the largest last_id says the whole so far, so read it with FINAL and sum over the partitions and logs';
