-- What keeps lists fast however many events there are. Events of one key lie together, in granules that are small because a page
-- of them is; rare severities, which a reader would look through ten thousand events for, lie together as well. The first
-- projection of keys is replaced: its parts are rewritten in the background, as far as there are any.
ALTER TABLE events ADD PROJECTION IF NOT EXISTS of_key (SELECT * ORDER BY tenant, key_id, created_at, id) WITH SETTINGS (index_granularity = 1024);
ALTER TABLE events ADD PROJECTION IF NOT EXISTS critical (SELECT * WHERE severity = 'critical' ORDER BY tenant, created_at, id);
ALTER TABLE events ADD PROJECTION IF NOT EXISTS warning (SELECT * WHERE severity = 'warning' ORDER BY tenant, created_at, id);
ALTER TABLE events MATERIALIZE PROJECTION of_key SETTINGS mutations_sync = 0;
ALTER TABLE events MATERIALIZE PROJECTION critical SETTINGS mutations_sync = 0;
ALTER TABLE events MATERIALIZE PROJECTION warning SETTINGS mutations_sync = 0;
ALTER TABLE events DROP PROJECTION IF EXISTS by_key SETTINGS mutations_sync = 0, alter_sync = 0;
