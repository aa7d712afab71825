package rules_test

import (
	"fmt"

	"keypulse/rules"
	"keypulse/schema"
)

func ExampleSet_Eval() {
	r, err := rules.ParseJSON([]byte(`{
		"id": "large-export", "name": "A large export", "severity": "critical", "score": 40,
		"when": "event_type == 'export' && details.amount_usd > 10000",
		"message": "{{actor}} exported {{details.amount_usd}} USD with {{key_id}}"
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := rules.Compile(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	set := rules.NewSet([]*rules.Program{p})
	for _, details := range []string{`{"amount_usd": 25000}`, `{"amount_usd": 3}`, `{}`} {
		e := &schema.Event{KeyID: "k-1", Type: "export", Severity: schema.Nominal, Actor: "bob", Details: []byte(details)}
		set.Eval(e, rules.Values{}, func(p *rules.Program) { fmt.Println(p.Message(e, rules.Values{})) })
	}
	// Output: bob exported 25000 USD with k-1
}
