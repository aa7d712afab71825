CREATE TABLE IF NOT EXISTS stats
(
    line UInt8 COMMENT 'Always 0: all lines become one',
    total_keys SimpleAggregateFunction(max, UInt64) COMMENT 'Keys of all tenants',
    nominal SimpleAggregateFunction(max, UInt64) COMMENT 'Events of all tenants with this severity',
    warning SimpleAggregateFunction(max, UInt64) COMMENT 'The same',
    critical SimpleAggregateFunction(max, UInt64) COMMENT 'The same',
    day AggregateFunction(argMax, UInt64, DateTime64(3, 'UTC')) COMMENT 'Events of the last 24 hours, as of the newest line',
    at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'When the rollups were summed up'
)
ENGINE = AggregatingMergeTree
ORDER BY line
COMMENT 'What GET /api/stats shows: query nodes add lines, at most one a second each, and show the largest of each number, argMaxMerge(day)';
