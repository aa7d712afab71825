package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"keypulse/internal/engine/enginetest"
	"keypulse/internal/store"
)

// codeNoKeeper is the server's error for a replicated table where there is no Keeper.
const codeNoKeeper = 225

// TestReplicatedStatements has the engine check the statements of a replicated cluster as far as one without a Keeper does: it
// parses all of them, and of a replicated table it refuses nothing but that there is no Keeper.
func TestReplicatedStatements(t *testing.T) {
	conn := open(t, enginetest.DSN(t))
	statements, err := store.ClusterStatements(store.Cluster{Name: "c", Replicated: true}, "keypulse")
	if err != nil {
		t.Fatal(err)
	}
	macros := strings.NewReplacer("{shard}", "1", "{replica}", "a") // which the engine has none of
	tables := 0
	for _, statement := range statements {
		if err := conn.Exec(t.Context(), "EXPLAIN AST "+statement); err != nil && !strings.HasPrefix(statement, "INSERT") {
			t.Errorf("%s: %v", statement, err)
		}
		if strings.Contains(statement, "ENGINE = Replicated") {
			tables++
			var refusal *clickhouse.Exception
			statement = macros.Replace(statement)
			if err := conn.Exec(t.Context(), statement); !errors.As(err, &refusal) || refusal.Code != codeNoKeeper {
				t.Errorf("%s: %v, want only that there is no Keeper", statement, err)
			}
		} else if strings.Contains(statement, "MergeTree") {
			t.Errorf("not replicated: %s", statement)
		}
	}
	if tables < 8 {
		t.Errorf("%d replicated tables", tables)
	}
}

func TestUnknownCluster(t *testing.T) {
	err := store.Cluster{Name: "nobody"}.Migrate(t.Context(), enginetest.DSN(t))
	if err == nil || !strings.Contains(err.Error(), "read cluster nobody: the server knows none of this name (remote_servers)") {
		t.Errorf("%v", err)
	}
}
