-- What owners say of their keys, and what was done to API keys, for analysts.
CREATE TABLE IF NOT EXISTS described_keys
(
    tenant LowCardinality(String) COMMENT 'The company that the key belongs to',
    key_id String COMMENT 'The key, which may have no event yet',
    version UInt64 COMMENT 'The version of the description, 1 for the first; the last one holds',
    name String COMMENT 'How its owner calls it',
    key_type String COMMENT 'mpc_shard, hsm_key, or any other',
    status String COMMENT 'active, or any other',
    tags Array(String) COMMENT 'As its owner gave them',
    rotation_period String COMMENT 'How often it should be rotated, a duration such as 90d; empty where nothing was said',
    by String COMMENT 'The id of the API key that said so',
    at DateTime64(3, 'UTC') COMMENT 'When it was said',
    kafka_offset UInt64 COMMENT 'Where the description stands in keypulse.keys'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, key_id)
COMMENT 'What owners say of their keys, the last version of each; older ones may be there for a while: take the one with the largest version';

CREATE OR REPLACE VIEW v_keys
(
    tenant LowCardinality(String) COMMENT 'The company that the key belongs to',
    key_id String COMMENT 'The key',
    events UInt64 COMMENT 'Its events',
    first_activity Nullable(DateTime64(3, 'UTC')) COMMENT 'The first event''s created_at',
    last_activity Nullable(DateTime64(3, 'UTC')) COMMENT 'The last event''s created_at',
    risk_score Float64 COMMENT '0 to 100: the points that rules gave its events, each halved for every 24 hours since',
    name String COMMENT 'How its owner calls it; key_id where nobody has said anything',
    key_type String COMMENT 'mpc_shard, hsm_key or any other; unknown where nobody has said anything',
    status String COMMENT 'active where nobody has said anything else',
    tags Array(String) COMMENT 'As its owner gave them',
    rotation_period String COMMENT 'How often it should be rotated, a duration such as 90d; empty where nothing was said'
)
SQL SECURITY INVOKER AS
SELECT k.tenant AS tenant, k.key_id AS key_id, k.events AS events, k.first_activity AS first_activity, k.last_activity AS last_activity,
    round(least(p.points, 100), 1) AS risk_score,
    if(k.version = 0, k.key_id, k.name) AS name, if(k.version = 0, 'unknown', k.key_type) AS key_type, if(k.version = 0, 'active', k.status) AS status,
    k.tags AS tags, k.rotation_period AS rotation_period
FROM
(
    SELECT tenant, key_id, sum(n) AS events, min(first) AS first_activity, max(last) AS last_activity, max(said) AS version,
        argMax(said_name, said) AS name, argMax(said_type, said) AS key_type, argMax(said_status, said) AS status,
        argMax(said_tags, said) AS tags, argMax(said_period, said) AS rotation_period
    FROM
    (
        SELECT tenant, key_id, n, keys.first_activity AS first, keys.last_activity AS last, toUInt64(0) AS said,
            '' AS said_name, '' AS said_type, '' AS said_status, CAST([], 'Array(String)') AS said_tags, '' AS said_period
        FROM keys
        UNION ALL
        SELECT tenant, key_id, toUInt64(0), NULL, NULL, described_keys.version, described_keys.name, described_keys.key_type, described_keys.status,
            described_keys.tags, described_keys.rotation_period
        FROM described_keys
    )
    GROUP BY tenant, key_id
    HAVING events > 0 OR version > 0
) AS k
LEFT JOIN
(
    SELECT tenant, key_id, sum(weighted * exp2(toUInt16(day) - toUnixTimestamp64Milli(now64(3)) / 86400000)) AS points
    FROM key_points
    WHERE day >= today() - 40
    GROUP BY tenant, key_id
) AS p ON p.tenant = k.tenant AND p.key_id = k.key_id
COMMENT 'One line for each key that has events or that its owner has described; risk_score is as of now';

CREATE VIEW IF NOT EXISTS v_audit
(
    tenant LowCardinality(String) COMMENT 'Whose API key it is',
    at DateTime64(3, 'UTC') COMMENT 'When it was done or tried',
    action LowCardinality(String) COMMENT 'create, change, rotate, revoke, or request: a call of the admin API that was refused',
    outcome LowCardinality(String) COMMENT 'begun, and then done, conflict or unknown; refused for a request',
    target String COMMENT 'The id of the API key; of a refused request its method and path',
    version UInt64 COMMENT 'The version of the API key that it makes; 0 for a refused request',
    by String COMMENT 'The id of the API key that asked, or cli: and the user of the machine',
    remote String COMMENT 'The address that the request came from; empty for the command line',
    request_id String COMMENT 'The id of the request, as in the access log; empty for the command line',
    changes String COMMENT 'The API key after it, as JSON, without anything secret; for a refused request the code of the answer'
)
SQL SECURITY INVOKER AS
SELECT tenant, at, action, outcome, target, version, by, remote, request_id, changes
FROM audit
LIMIT 1 BY kafka_offset
COMMENT 'What was done to API keys, one line for each time';
