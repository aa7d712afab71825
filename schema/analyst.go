package schema

// What analysts read: views, and the tables under them. Each has a column tenant.
var (
	AnalystTables = []string{"events", "keys", "key_points", "activity_by_minute", "alerts", "alert_actions", "described_keys", "audit"}
	AnalystViews  = []string{"v_events", "v_keys", "v_alerts", "v_activity_by_minute", "v_audit"}
)
