CREATE TABLE IF NOT EXISTS alerts
(
    tenant LowCardinality(String) COMMENT 'The company that the alert belongs to',
    raised_at DateTime64(3, 'UTC') COMMENT 'The effective time of the event that raised it',
    id String COMMENT 'al_…: a function of tenant, rule, version and event, so the same at every replay',
    key_id SimpleAggregateFunction(max, String) COMMENT 'The key that the alert is about',
    rule_id SimpleAggregateFunction(max, String) COMMENT 'The rule that raised it',
    rule_version SimpleAggregateFunction(max, UInt32) COMMENT 'The version of the rule that raised it',
    rule_name SimpleAggregateFunction(max, String) COMMENT 'The name of the rule in that version',
    severity SimpleAggregateFunction(max, UInt8) COMMENT 'The alert''s: 1 nominal, 2 warning, 3 critical',
    message SimpleAggregateFunction(max, String) COMMENT 'The rule''s message, filled in',
    event_id SimpleAggregateFunction(max, UInt64) COMMENT 'The id of the event that raised it',
    values SimpleAggregateFunction(max, String) COMMENT 'A JSON object: the rule''s aggregates and what they were',
    hits SimpleAggregateFunction(max, UInt64) COMMENT 'How often the rule held, the first time included',
    last_event_id SimpleAggregateFunction(max, UInt64) COMMENT 'The id of the last event that hit',
    last_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'The effective time of the last hit'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(raised_at)
ORDER BY (tenant, raised_at, id)
COMMENT 'Alerts; hits are rows of their own with cumulative numbers and empty text: group by (tenant, raised_at, id) and take the max when you read';
