package query

import (
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/ext"

	"keypulse/schema"
)

// actionsView is all of a tenant's actions below a revision, as statements see them: the stored ones, and those that
// only this node has, which go along with the statement as a table of their own. Two statements with the same view see
// the same actions, whatever has been stored between them.
type actionsView struct {
	rev  int64
	held []heldAction
}

// heldTable is the name of the table that goes along.
const heldTable = "held_actions"

// actionsOf begins a statement that reads actions; more conditions and an end follow.
const (
	selectStoredActions = `SELECT alert_id, toString(action) AS action, by, comment, toUnixTimestamp64Milli(at) AS at_ms, kafka_offset
        FROM alert_actions
        WHERE tenant = {tenant:String} AND kafka_offset < {actions_rev:UInt64}`
	selectHeldActions = `
        UNION ALL
        SELECT alert_id, action, by, comment, at_ms, kafka_offset FROM ` + heldTable
)

// actions is the SELECT of all actions of the view; the caller binds tenant, and the view's own parameters with bind.
func (v actionsView) actions() string {
	if len(v.held) == 0 {
		return selectStoredActions
	}
	return selectStoredActions + selectHeldActions
}

// bind gives a statement that holds v.actions() its parameters.
func (v actionsView) bind(w *where) { w.bind("actions_rev", v.rev) }

// inState is the condition on an alert's id that its last action leaves it in a state. An alert without actions is open.
func (v actionsView) inState(state schema.AlertState) string {
	last := `SELECT alert_id FROM (` + v.actions() + `) GROUP BY alert_id HAVING argMax(action, kafka_offset)`
	switch state {
	case schema.AlertAcked:
		return "id IN (" + last + " = '" + string(schema.AlertAck) + "')"
	case schema.AlertResolved:
		return "id IN (" + last + " = '" + string(schema.AlertResolve) + "')"
	default:
		return "id NOT IN (" + last + " != '" + string(schema.AlertReopen) + "')"
	}
}

// table is what goes along with a statement, nil when every action of the view is stored.
func (v actionsView) table() (*ext.Table, error) {
	if len(v.held) == 0 {
		return nil, nil
	}
	t, err := ext.NewTable(heldTable,
		ext.Column("alert_id", "String"), ext.Column("action", "String"), ext.Column("by", "String"),
		ext.Column("comment", "String"), ext.Column("at_ms", "Int64"), ext.Column("kafka_offset", "UInt64"),
	)
	if err != nil {
		return nil, fmt.Errorf("make table of held actions: %w", err)
	}
	for _, h := range v.held {
		if err := t.Append(h.AlertID, string(h.Action), h.By, h.Comment, int64(h.At), uint64(h.offset)); err != nil {
			return nil, fmt.Errorf("make table of held actions: %w", err)
		}
	}
	return t, nil
}
