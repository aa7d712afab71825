package window_test

import (
	"fmt"

	"keypulse/processor/window"
	"keypulse/rules"
	"keypulse/schema"
)

func ExampleStore_Observe() {
	p, err := rules.Compile(rules.Rule{
		ID: "export-burst", Name: "Many exports", Severity: schema.Critical, Enabled: true, Mode: rules.Live,
		When:    `event_type == "export" && count("10m", event_type == "export") > 3`,
		Message: `{{key_id}}: {{count("10m", event_type == "export")}} exports in 10 minutes`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	set, windows := rules.NewSet([]*rules.Program{p}), window.New(window.Config{})
	defer windows.Close()
	for minute := range 5 {
		e := &schema.Event{
			Tenant: "acme", KeyID: "key-1", Type: "export", Severity: schema.Nominal,
			CreatedAt: schema.Millis(1_775_392_440_000 + minute*60_000),
		}
		t, values := windows.Observe(set, e)
		set.Eval(e, values, func(p *rules.Program) {
			fmt.Println(t, p.Message(e, values), string(p.ValuesJSON(values)))
		})
	}
	// Output:
	// 2026-04-05T12:37:00.000Z key-1: 4 exports in 10 minutes {"count(\"10m\", event_type == \"export\")":4}
	// 2026-04-05T12:38:00.000Z key-1: 5 exports in 10 minutes {"count(\"10m\", event_type == \"export\")":5}
}
