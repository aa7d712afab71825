CREATE TABLE IF NOT EXISTS alert_actions
(
    tenant LowCardinality(String) COMMENT 'The company that the alert belongs to',
    alert_id String COMMENT 'The alert, alerts.id',
    raised_at DateTime64(3, 'UTC') COMMENT 'When the alert was raised: with tenant and alert_id it finds the alert at once',
    action Enum8('ack' = 1, 'resolve' = 2, 'reopen' = 3) COMMENT 'What was done; the last one decides: acked, resolved, open',
    by String COMMENT 'The id of the API key that did it',
    comment String COMMENT 'What was said about it, empty where nothing was',
    at DateTime64(3, 'UTC') COMMENT 'When it was done',
    kafka_offset UInt64 COMMENT 'Where the action stands in keypulse.alert_actions: the order of all actions'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, alert_id, kafka_offset)
COMMENT 'What people did with alerts, one line for each action; one may be there twice for a while: count kafka_offset, not lines';
