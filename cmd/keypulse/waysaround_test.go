package main

import (
	"net/http"
	"strings"
	"testing"
)

// waysAround are statements with which an analyst might come at rows of others. Each is refused, or answers with rows of
// its own tenant only.
var waysAround = []string{
	"SELECT * FROM events",
	"SELECT * FROM keypulse.keys WHERE tenant = 'other'",
	"SELECT * FROM v_events WHERE tenant = 'other' OR 1",
	"SELECT * FROM alerts FINAL",
	"SELECT * FROM v_alerts",
	"SELECT * FROM v_keys",
	"SELECT * FROM key_points UNION ALL SELECT * FROM key_points",
	"SELECT e.key_id, k.key_id FROM events AS e FULL JOIN keys AS k ON e.tenant != k.tenant",
	"SELECT * FROM events AS a CROSS JOIN events AS b",
	"SELECT (SELECT groupArray(key_id) FROM events)",
	"SELECT key_id IN (SELECT key_id FROM events) FROM keys",
	"WITH x AS (SELECT * FROM events) SELECT * FROM x",
	"SELECT * FROM merge('keypulse', '.*')",
	"SELECT * FROM merge('keypulse', 'events')",
	"SELECT * FROM mergeTreeIndex('keypulse', 'events')",
	"SELECT * FROM mergeTreeProjection('keypulse', 'events', 'of_key')",
	"SELECT * FROM view(SELECT * FROM events)",
	"SELECT * FROM remote('127.0.0.1', 'keypulse', 'events')",
	"SELECT * FROM remote('127.0.0.1', 'keypulse', 'events', 'default', '')",
	"SELECT * FROM cluster('default', 'keypulse', 'events')",
	"SELECT * FROM file('*/*/data.bin', 'RawBLOB')",
	"SELECT * FROM file('/etc/passwd', 'LineAsString')",
	"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
	"SELECT * FROM executable('cat', 'LineAsString', 'x String')",
	"SELECT * FROM loop('keypulse', 'events') LIMIT 100",
	"SELECT * FROM numbers(10) WHERE number IN (SELECT id FROM events WHERE tenant = 'other')",
	"SELECT * FROM generateRandom('x String') LIMIT 1",
	"SELECT * FROM dictionary('events')",
	"SELECT dictGet('events', 'key_id', 1)",
	"CREATE DICTIONARY d (id UInt64, key_id String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'events' USER 'keypulse')) LAYOUT(FLAT()) LIFETIME(1)",
	"SELECT joinGet('fence', 'owner', 0)",
	"SELECT * FROM totals",
	"SELECT * FROM schema_migrations",
	"SELECT * FROM landing",
	"SELECT * FROM system.query_log",
	"SELECT query FROM system.processes",
	"SELECT * FROM system.parts_columns",
	"SELECT * FROM system.parts WHERE table = 'events'",
	"SELECT * FROM system.users",
	"SELECT * FROM system.row_policies",
	"SELECT * FROM system.text_log",
	"SELECT * FROM system.zeros LIMIT 1",
	"SELECT * FROM information_schema.columns",
	"EXPLAIN SELECT * FROM events WHERE key_id = (SELECT max(key_id) FROM events)",
	"EXPLAIN indexes = 1, actions = 1 SELECT * FROM events WHERE tenant = 'other'",
	"EXPLAIN ESTIMATE SELECT * FROM totals",
	"SHOW CREATE TABLE events",
	"CHECK TABLE events",
	"INSERT INTO events (tenant, key_id) VALUES ('demo', 'x')",
	"INSERT INTO FUNCTION file('x', 'CSV', 'x String') SELECT key_id FROM events",
	"SELECT * FROM events INTO OUTFILE '/tmp/keypulse-analyst'",
	"ALTER TABLE events DELETE WHERE 1",
	"ALTER TABLE events UPDATE tenant = 'demo' WHERE 1",
	"DELETE FROM events WHERE 1",
	"TRUNCATE TABLE events",
	"DROP TABLE events",
	"OPTIMIZE TABLE events",
	"CREATE VIEW mine AS SELECT * FROM events",
	"CREATE TEMPORARY TABLE mine AS SELECT * FROM events",
	"CREATE TABLE mine ENGINE = Memory AS SELECT * FROM events",
	"CREATE FUNCTION mine AS (x) -> x",
	"CREATE USER bob",
	"CREATE ROW POLICY mine ON events USING 1 TO ann",
	"DROP ROW POLICY ann ON events",
	"GRANT ALL ON *.* TO ann",
	"SYSTEM FLUSH LOGS",
	"KILL QUERY WHERE 1",
	"SET users_without_row_policies_can_read_rows = 1",
	"SET readonly = 0",
	"SELECT * FROM events SETTINGS readonly = 0",
	"SELECT * FROM events SETTINGS allow_ddl = 1",
	"SELECT * FROM events SETTINGS max_execution_time = 61",
	"SELECT * FROM events SETTINGS max_memory_usage = 0",
	"SELECT * FROM events SETTINGS optimize_move_to_prewhere = 0, query_plan_enable_optimizations = 0",
	"SELECT * FROM events SETTINGS additional_table_filters = {'events': '1'}",
	"SELECT * FROM events PREWHERE tenant = 'other'",
	"SELECT throwIf(tenant = 'other', key_id) FROM events",
	"SELECT key_id FROM events WHERE throwIf(1, key_id)",
	"SELECT count() FROM events HAVING count() > 4",
	"SELECT min(key_id), max(key_id) FROM events",
	"SELECT any(key_id) FROM keys",
	"SELECT * FROM mergeTreeIndex('keypulse', 'keys')",
	"SELECT * FROM mergeTreeAnalyzeIndexes('keypulse', 'events')",
	"SELECT * FROM Python('x')",
	"SELECT * FROM v_keys WHERE toUInt64(key_id) > 0",
	"SELECT * FROM v_events WHERE toUInt64(key_id) > 0 ORDER BY created_at LIMIT 1",
	"SELECT * FROM v_alerts WHERE toUInt64(rule_name) > 0",
	"SELECT toUInt64(key_id) FROM v_events",
	"CREATE OR REPLACE VIEW v_events AS SELECT * FROM keypulse.events",
	"EXECUTE AS reader_other SELECT 1",
	"SELECT * FROM keypulse_other.v_events",
	"SELECT * FROM v_audit WHERE tenant = 'other' OR 1",
	"SELECT changes FROM v_audit",
	"SELECT * FROM v_audit WHERE throwIf(position(changes, 'SECRET') > 0, changes)",
	"SELECT toUInt64(changes) FROM v_audit",
	"SELECT * FROM audit",
	"SELECT * FROM mergeTreeIndex('keypulse', 'audit')",
	"SELECT * FROM described_keys",
	"SELECT * FROM v_keys WHERE toUInt64(name) > 0",
	"SELECT * FROM v_keys AS a FULL JOIN v_keys AS b ON a.name != b.name",
	"SELECT * FROM mergeTreeIndex('keypulse', 'described_keys')",
	"SELECT * FROM mergeTreeProjection('keypulse', 'events', 'critical')",
	"SELECT * FROM stats",
}

// mustFail are beginnings of statements that may not even answer.
var mustFail = []string{"INSERT", "ALTER", "DELETE", "TRUNCATE", "DROP", "OPTIMIZE", "CREATE", "GRANT", "KILL", "SET ", "SYSTEM"}

// tryWaysAround tries all of them, and what a row policy alone would count.
func (in *instance) tryWaysAround(t *testing.T, user, password string) {
	var all []string
	for _, sql := range waysAround { // where the views are, and where the tables are
		all = append(all, sql)
		for _, table := range []string{"events", "keys", "alerts", "key_points", "v_events", "v_keys", "v_alerts", "audit", "v_audit", "described_keys"} {
			if elsewhere := strings.ReplaceAll(sql, " "+table, " keypulse."+table); elsewhere != sql {
				all = append(all, elsewhere)
			}
		}
	}
	for _, sql := range all {
		status, got := in.sql(user, password, sql, "")
		if strings.Contains(got, secret) {
			t.Errorf("%s shows another tenant's row: %s", sql, got)
		}
		for _, word := range mustFail {
			if strings.HasPrefix(sql, word) && status == http.StatusOK {
				t.Errorf("%s was carried out", sql)
			}
		}
	}
	for sql, want := range map[string]string{
		"SELECT count() FROM v_events": "4", "SELECT count() FROM v_keys": "1", "SELECT sum(events) FROM v_keys": "4", "SELECT count() FROM v_alerts": "1",
		"SELECT sum(events) FROM v_activity_by_minute": "4", "SELECT uniqExact(tenant) FROM v_events": "1",
		"SELECT count() FROM v_events SETTINGS max_execution_time = 10":                              "4",
		"SELECT uniqExact(tenant), countIf(action = 'create' AND outcome = 'done') > 0 FROM v_audit": "1\t1",
		"SELECT name, key_type, status, tags, events FROM v_keys":                                    "Treasury\tunknown\tactive\t['cold']\t4",
	} {
		if status, got := in.sql(user, password, sql, ""); strings.TrimSpace(got) != want {
			t.Errorf("%s: %d %s, want %s as of demo alone", sql, status, got, want)
		}
	}
	for _, params := range []string{"&readonly=0", "&users_without_row_policies_can_read_rows=1", "&max_execution_time=1000", "&user=keypulse", "&log_comment=x"} {
		status, got := in.sql(user, password, "SELECT * FROM events", params)
		if status == http.StatusOK || strings.Contains(got, secret) {
			t.Errorf("with %s: %d %s, want a refusal", params, status, got)
		}
	}
	if status, got := in.sql(user, "wrong", "SELECT 1", ""); status == http.StatusOK {
		t.Errorf("a wrong password is let in: %s", got)
	}
}
