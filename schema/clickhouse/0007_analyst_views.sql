-- What analysts and dashboards read. The names and the columns stay; what is under them may change. Each runs with the reader's own
-- rights, so that the row policies of the tables hold in it.
CREATE VIEW IF NOT EXISTS v_events
(
    tenant LowCardinality(String) COMMENT 'The company that the event belongs to',
    id UInt64 COMMENT 'Unique',
    event_id String COMMENT 'The client''s own identity of the event, or a UUIDv7 made by the server',
    key_id String COMMENT 'The key that the event is about',
    event_type LowCardinality(String) COMMENT 'signing_request, key_access, rotation, export, policy_change, or any other',
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    source_ip String COMMENT 'Canonical text of the address, empty where none was sent',
    actor String COMMENT 'Who caused the event, empty where none was sent',
    created_at DateTime64(3, 'UTC') COMMENT 'When KeyPulse accepted the event',
    score UInt8 COMMENT '0 to 100: the base of the severity and the scores of the rules that held',
    alerts UInt16 COMMENT 'How many alerts the event raised',
    details String COMMENT 'The JSON object as it was sent',
    amount_usd Nullable(Float64) COMMENT 'details.amount_usd, NULL where it is no number',
    amount Nullable(Float64) COMMENT 'details.amount, NULL where it is no number',
    asset Nullable(String) COMMENT 'details.asset',
    destination Nullable(String) COMMENT 'details.destination',
    outcome Nullable(String) COMMENT 'details.outcome'
)
SQL SECURITY INVOKER AS
SELECT
    tenant, id, event_id, key_id, event_type, severity, source_ip, actor, created_at, score, alerts, details,
    JSONExtract(details, 'amount_usd', 'Nullable(Float64)') AS amount_usd,
    JSONExtract(details, 'amount', 'Nullable(Float64)') AS amount,
    JSONExtract(details, 'asset', 'Nullable(String)') AS asset,
    JSONExtract(details, 'destination', 'Nullable(String)') AS destination,
    JSONExtract(details, 'outcome', 'Nullable(String)') AS outcome
FROM events
WHERE duplicate_of = 0
COMMENT 'Events with their verdicts, duplicates left out; common paths of details as columns, NULL where they are not there';

CREATE VIEW IF NOT EXISTS v_keys
(
    tenant LowCardinality(String) COMMENT 'The company that the key belongs to',
    key_id String COMMENT 'The key',
    events UInt64 COMMENT 'Its events',
    first_activity Nullable(DateTime64(3, 'UTC')) COMMENT 'The first event''s created_at',
    last_activity Nullable(DateTime64(3, 'UTC')) COMMENT 'The last event''s created_at',
    risk_score Float64 COMMENT '0 to 100: the points that rules gave its events, each halved for every 24 hours since'
)
SQL SECURITY INVOKER AS
SELECT k.tenant AS tenant, k.key_id AS key_id, k.events AS events, k.first_activity AS first_activity, k.last_activity AS last_activity,
    round(least(p.points, 100), 1) AS risk_score
FROM
(
    SELECT tenant, key_id, sum(n) AS events, min(keys.first_activity) AS first_activity, max(keys.last_activity) AS last_activity
    FROM keys
    GROUP BY tenant, key_id
    HAVING events > 0
) AS k
LEFT JOIN
(
    SELECT tenant, key_id, sum(weighted * exp2(toUInt16(day) - toUnixTimestamp64Milli(now64(3)) / 86400000)) AS points
    FROM key_points
    WHERE day >= today() - 40
    GROUP BY tenant, key_id
) AS p ON p.tenant = k.tenant AND p.key_id = k.key_id
COMMENT 'One line for each key with events; risk_score is as of now';

CREATE VIEW IF NOT EXISTS v_alerts
(
    tenant LowCardinality(String) COMMENT 'The company that the alert belongs to',
    id String COMMENT 'al_…',
    key_id String COMMENT 'The key that the alert is about',
    rule_id String COMMENT 'The rule that raised it',
    rule_version UInt32 COMMENT 'The version of the rule',
    rule_name String COMMENT 'The name of the rule in that version',
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'The alert''s',
    message String COMMENT 'The rule''s message, filled in',
    event_id UInt64 COMMENT 'The id of the event that raised it',
    values String COMMENT 'A JSON object: the rule''s aggregates and what they were',
    raised_at DateTime64(3, 'UTC') COMMENT 'When it was raised',
    hits UInt64 COMMENT 'How often the rule has held since, the first time included',
    last_at DateTime64(3, 'UTC') COMMENT 'When it held last',
    state String COMMENT 'open, acked or resolved'
)
SQL SECURITY INVOKER AS
SELECT a.tenant AS tenant, a.id AS id, a.key_id AS key_id, a.rule_id AS rule_id, a.rule_version AS rule_version, a.rule_name AS rule_name,
    a.severity AS severity, a.message AS message, a.event_id AS event_id, a.values AS values, a.raised_at AS raised_at, a.hits AS hits, a.last_at AS last_at,
    multiIf(s.last_action = 'ack', 'acked', s.last_action = 'resolve', 'resolved', 'open') AS state
FROM
(
    SELECT tenant, id, raised_at, max(alerts.key_id) AS key_id, max(alerts.rule_id) AS rule_id, max(alerts.rule_version) AS rule_version,
        max(alerts.rule_name) AS rule_name, CAST(max(alerts.severity), 'Enum8(\'nominal\' = 1, \'warning\' = 2, \'critical\' = 3)') AS severity,
        max(alerts.message) AS message, max(alerts.event_id) AS event_id, max(alerts.values) AS values, max(alerts.hits) AS hits, max(alerts.last_at) AS last_at
    FROM alerts
    GROUP BY tenant, id, raised_at
    HAVING rule_id != ''
) AS a
LEFT JOIN
(
    SELECT tenant, alert_id, toString(argMax(action, kafka_offset)) AS last_action
    FROM alert_actions
    GROUP BY tenant, alert_id
) AS s ON s.tenant = a.tenant AND s.alert_id = a.id
COMMENT 'One line for each alert with its hits and where people are with it';

CREATE VIEW IF NOT EXISTS v_activity_by_minute
(
    tenant LowCardinality(String) COMMENT 'The company',
    minute DateTime('UTC') COMMENT 'The start of the minute',
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    events UInt64 COMMENT 'Events of this severity in this minute'
)
SQL SECURITY INVOKER AS
SELECT tenant, minute, severity, sum(n) AS events
FROM activity_by_minute
GROUP BY tenant, minute, severity
HAVING events > 0
COMMENT 'Events by minute and severity, duplicates left out: as fast for a year as for an hour';
