CREATE TABLE IF NOT EXISTS audit
(
    tenant LowCardinality(String) COMMENT 'Whose API key it is; empty where nobody could tell',
    at DateTime64(3, 'UTC') COMMENT 'When it was done or tried',
    action LowCardinality(String) COMMENT 'create, change, rotate, revoke, or request: a call of the admin API that was refused',
    outcome LowCardinality(String) COMMENT 'begun, and then done, conflict or unknown; refused for a request',
    target String COMMENT 'The id of the API key; of a refused request its method and path',
    version UInt64 COMMENT 'The version of the API key that it makes; 0 for a refused request',
    by String COMMENT 'The id of the API key that asked, or cli: and the user of the machine; empty where no key was good',
    remote String COMMENT 'The address that the request came from; empty for the command line',
    request_id String COMMENT 'The id of the request, as in the access log; empty for the command line',
    changes String COMMENT 'The API key after it, as JSON, without anything secret; for a refused request the code of the answer',
    kafka_offset UInt64 COMMENT 'Where the line stands in keypulse.audit: the order of all lines'
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, at, kafka_offset)
COMMENT 'What was done to API keys, by whom, when and from where; a line may be there twice for a while: count kafka_offset, not lines';
