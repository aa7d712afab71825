-- Rows come in by the table landing, which keeps nothing: views pass them on to events and to the rollups. A row there says who
-- writes it, and is refused when that is not the partition's owner any more; it may be meant for one table alone, so that a table
-- that lacks rows can be given them. Each rollup says by last_id how far it has counted.
-- What is stored already is marked as counted, as far as each rollup's own number of rows says that it is. Every statement may be
-- repeated. No sink of an older version may run meanwhile: it writes to events, from which no view reads any more.
ALTER TABLE events ADD PROJECTION IF NOT EXISTS proof
(
    SELECT kafka_partition, count(), min(id), max(id), sum(id), sum(alerts), countIf(duplicate_of = 0 AND score > multiIf(severity = 'critical', 30, severity = 'warning', 10, 0))
    GROUP BY kafka_partition
);
ALTER TABLE keys ADD COLUMN IF NOT EXISTS last_id SimpleAggregateFunction(max, UInt64) COMMENT 'The largest events.id that the line counts: rows of a partition are counted in the order of their ids, so what is larger is not counted yet';
ALTER TABLE activity_by_minute ADD COLUMN IF NOT EXISTS last_id SimpleAggregateFunction(max, UInt64) COMMENT 'The largest events.id that the line counts: rows of a partition are counted in the order of their ids, so what is larger is not counted yet';
ALTER TABLE totals ADD COLUMN IF NOT EXISTS last_id SimpleAggregateFunction(max, UInt64) COMMENT 'The largest events.id that the line counts: rows of a partition are counted in the order of their ids, so what is larger is not counted yet';
ALTER TABLE key_points ADD COLUMN IF NOT EXISTS last_id SimpleAggregateFunction(max, UInt64) COMMENT 'The largest events.id that the line counts: rows of a partition are counted in the order of their ids, so what is larger is not counted yet';
CREATE TABLE IF NOT EXISTS fence
(
    kafka_partition UInt16 COMMENT 'The partition of the log',
    owner UInt64 COMMENT 'The sink that may write its rows, a number that each sink draws anew for each generation of its group'
)
ENGINE = Join(ANY, LEFT, kafka_partition)
SETTINGS join_any_take_last_row = 1
COMMENT 'Who owns each partition: a sink that was paused and has lost its partitions is refused';

CREATE TABLE IF NOT EXISTS lost
(
    kafka_partition UInt16 COMMENT 'The partition of the log',
    first_id UInt64 COMMENT 'The id of the first event that is lost',
    last_id UInt64 COMMENT 'The id of the last one',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When a sink found out'
)
ENGINE = ReplacingMergeTree
ORDER BY (kafka_partition, first_id)
COMMENT 'Events that the log had dropped before a sink read them: events has no row of them';

CREATE TABLE IF NOT EXISTS landing
(
    tenant LowCardinality(String) COMMENT 'The company that the event belongs to',
    key_id String COMMENT 'The key that the event is about',
    id UInt64 COMMENT 'Unique: (base + kafka_offset) * 1024 + kafka_partition',
    event_id String COMMENT 'The client''s own identity of the event, or a UUIDv7 made by the server',
    event_type LowCardinality(String) COMMENT 'signing_request, key_access, rotation, export, policy_change, or any other',
    severity Enum8('nominal' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'As the client sent it',
    source_ip String COMMENT 'Canonical text of the address, empty where none was sent',
    actor String COMMENT 'Who caused the event, empty where none was sent',
    details String COMMENT 'The JSON object byte for byte as it was sent, {} where none was sent',
    created_at DateTime64(3, 'UTC') COMMENT 'When KeyPulse accepted the event',
    score UInt8 COMMENT '0 to 100: the base of the severity and the scores of the rules that held',
    alerts UInt16 COMMENT 'How many alerts the event raised',
    duplicate_of UInt64 COMMENT 'The id of the first event with the same event_id; 0 for the first one itself',
    kafka_partition UInt16 COMMENT 'Where the event stands in the log',
    kafka_offset UInt64 COMMENT 'Where the event stands in its partition; without gaps',
    log_time DateTime64(3, 'UTC') COMMENT 'The largest created_at of the partition so far: never falls, so that retention drops a prefix',
    owner UInt64 COMMENT 'The sink that writes the row, see fence; 0 where nobody owns the partition',
    only LowCardinality(String) COMMENT 'The one table that lacks the row; empty: all tables get it',
    CONSTRAINT owned CHECK owner = joinGet('fence', 'owner', kafka_partition)
)
ENGINE = Null
COMMENT 'Where rows come in: it keeps none, views pass them on';

DROP VIEW IF EXISTS keys_mv;
DROP VIEW IF EXISTS activity_by_minute_mv;
DROP VIEW IF EXISTS totals_mv;
DROP VIEW IF EXISTS key_points_mv;

INSERT INTO keys (tenant, key_id, kafka_partition, n_all, n, first_activity, last_activity, last_id)
SELECT tenant, key_id, kafka_partition, 0, 0, NULL, NULL, max(id)
FROM (SELECT tenant, key_id, kafka_partition, id, row_number() OVER (PARTITION BY kafka_partition ORDER BY id) AS place FROM events) AS e
INNER JOIN (SELECT kafka_partition, sum(n_all) AS counted FROM keys GROUP BY kafka_partition) AS r USING (kafka_partition)
WHERE place <= counted
GROUP BY tenant, key_id, kafka_partition;

INSERT INTO activity_by_minute (tenant, minute, severity, kafka_partition, n_all, n, last_id)
SELECT tenant, minute, severity, kafka_partition, 0, 0, max(id)
FROM (SELECT tenant, toStartOfMinute(created_at) AS minute, severity, kafka_partition, id, row_number() OVER (PARTITION BY kafka_partition ORDER BY id) AS place FROM events) AS e
INNER JOIN (SELECT kafka_partition, sum(n_all) AS counted FROM activity_by_minute GROUP BY kafka_partition) AS r USING (kafka_partition)
WHERE place <= counted
GROUP BY tenant, minute, severity, kafka_partition;

INSERT INTO totals (severity, kafka_partition, n_all, n, last_id)
SELECT severity, kafka_partition, 0, 0, max(id)
FROM (SELECT severity, kafka_partition, id, row_number() OVER (PARTITION BY kafka_partition ORDER BY id) AS place FROM events) AS e
INNER JOIN (SELECT kafka_partition, sum(n_all) AS counted FROM totals GROUP BY kafka_partition) AS r USING (kafka_partition)
WHERE place <= counted
GROUP BY severity, kafka_partition;

INSERT INTO key_points (tenant, key_id, day, kafka_partition, n, points, weighted, last_id)
SELECT tenant, key_id, day, kafka_partition, 0, 0, 0, max(id)
FROM (SELECT tenant, key_id, toDate(created_at) AS day, kafka_partition, id, row_number() OVER (PARTITION BY kafka_partition ORDER BY id) AS place FROM events WHERE duplicate_of = 0 AND score > multiIf(severity = 'critical', 30, severity = 'warning', 10, 0)) AS e
INNER JOIN (SELECT kafka_partition, sum(n) AS counted FROM key_points GROUP BY kafka_partition) AS r USING (kafka_partition)
WHERE place <= counted
GROUP BY tenant, key_id, day, kafka_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS landing_events TO events AS
SELECT tenant, key_id, id, event_id, event_type, severity, source_ip, actor, details, created_at, score, alerts, duplicate_of, kafka_partition, kafka_offset, log_time
FROM landing
WHERE only IN ('', 'events');

CREATE MATERIALIZED VIEW IF NOT EXISTS landing_keys TO keys AS
SELECT
    tenant,
    key_id,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n,
    minOrNullIf(created_at, duplicate_of = 0) AS first_activity,
    maxOrNullIf(created_at, duplicate_of = 0) AS last_activity,
    max(id) AS last_id
FROM landing
WHERE only IN ('', 'keys')
GROUP BY tenant, key_id, kafka_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS landing_activity_by_minute TO activity_by_minute AS
SELECT
    tenant,
    toStartOfMinute(created_at) AS minute,
    severity,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n,
    max(id) AS last_id
FROM landing
WHERE only IN ('', 'activity_by_minute')
GROUP BY tenant, minute, severity, kafka_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS landing_totals TO totals AS
SELECT
    severity,
    kafka_partition,
    count() AS n_all,
    countIf(duplicate_of = 0) AS n,
    max(id) AS last_id
FROM landing
WHERE only IN ('', 'totals')
GROUP BY severity, kafka_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS landing_key_points TO key_points AS
SELECT
    tenant,
    key_id,
    toDate(created_at) AS day,
    kafka_partition,
    count() AS n,
    sum(event_points) AS points,
    sum(event_points * exp2(toUnixTimestamp64Milli(created_at) % 86400000 / 86400000)) AS weighted,
    max(id) AS last_id
FROM
(
    SELECT
        tenant,
        key_id,
        created_at,
        kafka_partition,
        id,
        score - multiIf(severity = 'critical', 30, severity = 'warning', 10, 0) AS event_points
    FROM landing
    WHERE duplicate_of = 0 AND only IN ('', 'key_points')
)
WHERE event_points > 0
GROUP BY tenant, key_id, day, kafka_partition;
