package trial_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"keypulse/processor/trial"
	"keypulse/rules"
	"keypulse/schema"
)

func TestTry(t *testing.T) {
	r := rules.Rule{
		ID: "burst", Name: "Burst", When: `count("10m", event_type == "export") > 1`, Severity: schema.Critical, Score: 40,
		Dedup: 15 * time.Minute, Message: `{{count("10m", event_type == "export")}} exports`, Mode: rules.Shadow,
	}
	got, err := trial.Try(r, []byte(`[{"event_type":"export"},{"event_type":"export","severity":"warning","at":"1m"},{"event_type":"export","at":"2m"},{"key_id":"other"}]`))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, o := range got {
		fmt.Fprint(&text, o.KeyID, " ", o.Score, " ", o.Holds, " ", o.Hits)
		if o.Alert != nil {
			fmt.Fprintf(&text, " %s %s", o.Alert.Message, o.Alert.Values)
		}
		text.WriteString("\n")
	}
	const want = `key-1 0 false 0
key-1 50 true 1 2 exports {"count(\"10m\", event_type == \"export\")":2}
key-1 40 true 2
other 0 false 0
`
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	for events, field := range map[string]string{
		"": "events", "[]": "events", "{}": "events", `[{"x":1}]`: "events[0].x", `[{},{"severity":"bad"}]`: "events[1].severity",
		`[{"repeat":1001,"every":"1s"}]`: "events",
	} {
		var errs rules.Errors
		if _, err := trial.Try(r, []byte(events)); !errors.As(err, &errs) || errs[0].Field != field {
			t.Errorf("%s: %v, want an error about %s", events, err, field)
		}
	}
}
