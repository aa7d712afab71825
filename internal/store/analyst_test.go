package store_test

import (
	"testing"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

// TestAnalystStatementsParse has the engine parse what a server is told. It carries none of it out: the embedded engine
// keeps its users in a file.
func TestAnalystStatementsParse(t *testing.T) {
	conn, err := store.Open(t.Context(), enginetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := store.Analyst{Name: "ann", Tenant: `it's \ odd`, SHA256: "00ff"}
	for _, statement := range append(store.CreateStatements(a, "keypulse"), store.RevokeStatements("ann")...) {
		if err := conn.Exec(t.Context(), "EXPLAIN AST "+statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
