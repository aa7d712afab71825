package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// TestRuleBudget makes rules that read much until one is refused; what does not raise the tenant's time goes on being accepted.
func TestRuleBudget(t *testing.T) {
	a := newRulesAPI(t)
	rule := func(n int, more string) string {
		when := fmt.Sprintf(`sort(split(details.n%d[:2048], ","))[0] == "a"`, n)
		body, err := json.Marshal(map[string]any{"id": fmt.Sprint("r", n), "name": "R", "severity": "warning", "when": when})
		if err != nil {
			t.Fatal(err)
		}
		return string(body[:len(body)-1]) + more + "}"
	}
	used := func(body string) (tenant, most float64) {
		t.Helper()
		var cost struct {
			TenantMicros    float64 `json:"tenant_micros"`
			TenantMaxMicros float64 `json:"tenant_max_micros"`
		}
		if err := json.Unmarshal([]byte(a.want(200, "demo", http.MethodPost, "/api/rules/validate", body)), &cost); err != nil {
			t.Fatal(err)
		}
		return cost.TenantMicros, cost.TenantMaxMicros
	}
	one, most := used(rule(0, ""))
	if one < 100 || most != 20_000 {
		t.Fatalf("a rule takes %v of %v", one, most)
	}
	n := 0
	for ; float64(n+1)*one < most; n++ {
		if got, _ := used(rule(n, "")); got < float64(n)*one || got > float64(n+2)*one {
			t.Errorf("with rule %d the tenant's take %v, one takes %v", n, got, one)
		}
		a.want(201, "demo", http.MethodPost, "/api/rules", rule(n, ""))
	}
	for _, path := range []string{"/api/rules", "/api/rules/validate"} {
		a.refuse("demo", http.MethodPost, path, rule(n, ""), 400, `"code":"rule_limit"`, "at most 20ms is allowed", "the tenant's limit is reached")
	}
	a.want(201, "other", http.MethodPost, "/api/rules", rule(n, ""))
	a.want(201, "demo", http.MethodPost, "/api/rules", rule(n, `, "enabled": false`))
	path := fmt.Sprint("/api/rules/r", n)
	a.refuse("demo", http.MethodPut, path, rule(n, `, "enabled": true, "version": 1`), 400, `"code":"rule_limit"`)
	a.want(200, "demo", http.MethodPut, "/api/rules/r0", rule(0, `, "enabled": false, "version": 1`))
	a.want(200, "demo", http.MethodPut, path, rule(n, `, "enabled": true, "version": 1`))
}
