package trial

import (
	"errors"
	"testing"

	"keypulse/rules"
)

// FuzzParse reads files that are nearly right: what is wrong has a place in the file, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte("- {id: a, name: n, when: 'true', severity: nominal, tests: [{name: t, events: [{at: 1m, x: 1}], alerts: 1}]}"))
	f.Add([]byte("id: a\nname: n\nwhen: 'true'\nseverity: nominal\ntests:\n  - name: t\n    events: [{repeat: 2, every: 1s, details: {a: '{n}'}}]\n    alerts: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, err := Parse("f.yaml", data)
		var errs rules.Errors
		if err != nil && !errors.As(err, &errs) {
			t.Fatalf("%T: %v", err, err)
		}
		for _, e := range errs {
			if len(e.Field) > 5 && e.Field[:5] == "tests" && e.Line < 1 {
				t.Fatalf("no place: %v", e)
			}
		}
	})
}
