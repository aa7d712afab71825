package notify

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"keypulse/schema"
)

// The types of messages.
const (
	typeAlert  = "alert.raised"
	typeDigest = "alert.digest"
	typeTest   = "webhook.test"
)

// maxDetailed alerts of a digest are described; of the others the ids stand there.
const maxDetailed = 50

// deliveryID is a function of what is told to whom, so that whoever decides it again makes the same message.
func deliveryID(tenant schema.Tenant, webhook, kind, what string) string {
	sum := sha256.Sum256([]byte(string(tenant) + "\x00" + webhook + "\x00" + kind + "\x00" + what))
	return "msg_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// alertData is the member data of alert.raised.
func alertData(n *schema.NoticeRecord) json.RawMessage {
	return mustMarshal(struct {
		Alert json.RawMessage `json:"alert"`
		Event json.RawMessage `json:"event"`
	}{n.Alert, n.Event})
}

// ruleCount is how many alerts of a digest a rule has raised.
type ruleCount struct {
	RuleID   string `json:"rule_id"`
	RuleName string `json:"rule_name"`
	Severity string `json:"severity"`
	Count    int    `json:"count"`
}

// digest is the member data of alert.digest.
type digest struct {
	Count      int            `json:"count"`
	Keys       int            `json:"keys"` // among the listed alerts
	FirstAt    schema.Millis  `json:"first_at"`
	LastAt     schema.Millis  `json:"last_at"`
	BySeverity map[string]int `json:"by_severity"`
	ByRule     []ruleCount    `json:"by_rule"`   // the most first
	Alerts     []summary      `json:"alerts"`    // the first of them
	AlertIDs   []string       `json:"alert_ids"` // of all
	Unlisted   int            `json:"unlisted"`  // alerts beyond those, that GET /api/alerts shows
}

func newDigest(gathered []summary, more int) digest {
	d := digest{Count: len(gathered) + more, BySeverity: map[string]int{}, Alerts: gathered[:min(len(gathered), maxDetailed)], AlertIDs: []string{}, Unlisted: more}
	keys, rules := map[string]bool{}, map[string]*ruleCount{}
	for i := range gathered {
		a := &gathered[i]
		if i == 0 || a.RaisedAt < d.FirstAt {
			d.FirstAt = a.RaisedAt
		}
		d.LastAt = max(d.LastAt, a.RaisedAt)
		keys[a.KeyID] = true
		d.BySeverity[a.Severity]++
		if rules[a.RuleID] == nil {
			rules[a.RuleID] = &ruleCount{RuleID: a.RuleID, RuleName: a.RuleName, Severity: a.Severity}
		}
		rules[a.RuleID].Count++
		d.AlertIDs = append(d.AlertIDs, a.ID)
	}
	d.Keys, d.ByRule = len(keys), []ruleCount{}
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		d.ByRule = append(d.ByRule, *rules[id])
	}
	slices.SortStableFunc(d.ByRule, func(a, b ruleCount) int { return b.Count - a.Count })
	d.ByRule = d.ByRule[:min(len(d.ByRule), maxDetailed)]
	return d
}

// body is what is sent. delayed says that it comes much later than it should.
func (d *Delivery) body(delayed bool) []byte {
	return mustMarshal(struct {
		Type      string          `json:"type"`
		Timestamp schema.Millis   `json:"timestamp"`
		Delayed   bool            `json:"delayed"`
		Data      json.RawMessage `json:"data"`
	}{d.Type, d.Timestamp, delayed, d.Data})
}

// text is the message for people: a title, and lines.
func (d *Delivery) text(delayed bool) (title string, lines []string) {
	late := ""
	if delayed {
		late = " (delayed)"
	}
	switch d.Type {
	case typeAlert:
		var data struct {
			Alert struct {
				summary
				EventID int64           `json:"event_id"`
				Values  json.RawMessage `json:"values"`
			}
			Event struct {
				Type     string  `json:"event_type"`
				Actor    *string `json:"actor"`
				SourceIP *string `json:"source_ip"`
			}
		}
		if err := json.Unmarshal(d.Data, &data); err != nil {
			return "An alert" + late, []string{d.ID}
		}
		a := data.Alert
		lines = []string{
			a.Message, "",
			"Rule: " + a.RuleName + " (" + a.RuleID + ")",
			"Key: " + a.KeyID,
			fmt.Sprintf("Event: %s %d", data.Event.Type, a.EventID),
		}
		for name, value := range map[string]*string{"Actor": data.Event.Actor, "Source": data.Event.SourceIP} {
			if value != nil {
				lines = append(lines, name+": "+*value)
			}
		}
		slices.Sort(lines[5:])
		lines = append(lines, "Raised at: "+a.RaisedAt.String(), "Alert: "+a.ID, "Values: "+string(a.Values))
		return fmt.Sprintf("[%s] %s: %s%s", a.Severity, a.KeyID, a.RuleName, late), lines
	case typeDigest:
		var data digest
		if err := json.Unmarshal(d.Data, &data); err != nil {
			return "Alerts" + late, []string{d.ID}
		}
		lines = []string{fmt.Sprintf("%d alerts on %d keys, %s to %s.", data.Count, data.Keys, data.FirstAt, data.LastAt), ""}
		for _, r := range data.ByRule {
			lines = append(lines, fmt.Sprintf("%d × %s (%s, %s)", r.Count, r.RuleName, r.RuleID, r.Severity))
		}
		lines = append(lines, "")
		for i := range data.Alerts {
			a := &data.Alerts[i]
			lines = append(lines, fmt.Sprintf("%s [%s] %s: %s", a.RaisedAt, a.Severity, a.KeyID, a.Message))
		}
		if rest := data.Count - len(data.Alerts); rest > 0 {
			lines = append(lines, fmt.Sprintf("… and %d more.", rest))
		}
		return fmt.Sprintf("%d alerts%s", data.Count, late), lines
	default:
		return "KeyPulse: a test", []string{"This webhook works."}
	}
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: encode a message: %v", err))
	}
	return b
}

// TestDeliveryID is the id of the message that a test makes.
func TestDeliveryID(tenant schema.Tenant, webhook, id string) string {
	return deliveryID(tenant, webhook, typeTest, id)
}
