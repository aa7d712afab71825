package query

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"keypulse/schema"
)

// example is the event of the reference.
func example() row {
	return row{id: 4821, event: schema.Event{
		KeyID: "my-signing-key-01", Type: "signing_request", Severity: schema.Nominal, SourceIP: "10.0.0.1",
		Actor: "service-account@myapp.com", EventID: "019602c4-1f40-7b5c-8d1e-5f0a3c2b1d00", CreatedAt: schema.MillisOf(noon),
	}}
}

func TestEventsGolden(t *testing.T) {
	a := newAPI(t)
	golden(t, "events_empty.golden.json", a.get("demo", "/api/events"))
	bare := row{id: 4820, score: 70, alerts: 2, event: schema.Event{
		Severity: schema.Critical, Details: []byte(`{ "amount":1.0e0, "note":"\u00e9 <&>" }`), CreatedAt: schema.MillisOf(noon.Add(-time.Millisecond)),
	}}
	a.insert(bare, example())
	golden(t, "events.golden.json", a.get("demo", "/api/events"))
	golden(t, "events_page.golden.json", a.get("demo", "/api/events?limit=1"))
	golden(t, "event.golden.json", a.get("demo", "/api/events/4821"))
}

func TestEventsFilters(t *testing.T) {
	a := newAPI(t)
	a.insert(
		row{id: 1, event: schema.Event{KeyID: "a", SourceIP: "10.1.2.3", Actor: "alice"}},
		row{id: 2, event: schema.Event{KeyID: "b", SourceIP: "10.255.0.1", Type: "export", Severity: schema.Warning}, score: 10},
		row{id: 3, event: schema.Event{KeyID: "a", SourceIP: "11.0.0.1", Severity: schema.Critical}, score: 100},
		row{id: 4, event: schema.Event{KeyID: "b", SourceIP: "2001:db8::1"}},
		row{id: 5, event: schema.Event{KeyID: "c\t\\'\"\n☃", Type: "it's {x:String} ? $1 @a", Actor: `\N`}},
		row{id: 6, duplicateOf: 1, event: schema.Event{KeyID: "a"}},
		row{id: 7, tenant: "other", event: schema.Event{KeyID: "a"}},
	)
	f := func(query string, want ...int64) {
		t.Helper()
		equal(t, query, a.eventIDs("demo", "/api/events?"+query), want)
	}
	f("", 5, 4, 3, 2, 1)
	f("limit=2", 5, 4)
	f("key_id=a", 3, 1)
	f("key_id=A")
	f("key_id=c%09%5C%27%22%0A%E2%98%83", 5)
	f("event_type=export", 2)
	f("event_type=it%27s+%7Bx:String%7D+?+$1+@a", 5)
	f("actor=%5CN", 5)
	f("actor=alice", 1)
	f("severity=critical", 3)
	f("severity=nominal&key_id=b", 4)
	f("min_score=10", 3, 2)
	f("min_score=0&limit=1", 5)
	f("source_ip=10.1.2.3", 1)
	f("source_ip=::ffff:10.1.2.3", 1)
	f("source_ip=10.0.0.0/8", 2, 1)
	f("source_ip=10.1.2.0/31")
	f("source_ip=10.1.2.2/31", 1)
	f("source_ip=0.0.0.0/0", 3, 2, 1)
	f("source_ip=2001:0db8::/32", 4)
	f("source_ip=2001:DB8:0::1", 4)
	f("source_ip=::/0", 4)
	f("since=2026-04-05T12:34:00.003Z", 5, 4, 3)
	f("since=2026-04-05T14:34:00.0025%2B02:00", 5, 4, 3)
	f("until=2026-04-05T12:34:00.003Z", 2, 1)
	f("since=2026-04-05T12:34:00.002Z&until=2026-04-05T12:34:00.004Z", 3, 2)
	f("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", 5, 4, 3, 2, 1)
	f("since=9999-12-31T23:59:59Z")
}

func TestEventsRefuses(t *testing.T) {
	a := newAPI(t)
	f := func(query string, words ...string) {
		t.Helper()
		a.refuse("demo", http.MethodGet, "/api/events?"+query, "", http.StatusBadRequest, append(words, `"errors":[{"field":`)...)
	}
	for _, limit := range []string{"0", "501", "abc", "", "-1", "+5", "05", "1.0", "5%20", "99999999999999999999"} {
		f("limit="+limit, `"field":"limit"`, "1 to 500")
	}
	f("limit=5&limit=6", "limit", "more than once")
	f("limt=5", `"field":"limt"`, `\"limit\"`)
	f("key_id=", `"field":"key_id"`)
	f("key_id="+strings.Repeat("x", 257), "256 bytes")
	f("severity=bad&limit=0", `"field":"severity"`, "must be nominal, warning or critical", `"field":"limit"`)
	f("severity=critcal", `did you mean`)
	f("severity=CRITICAL", "critical")
	f("since=yesterday", "RFC 3339")
	f("until=2026-04-05", "RFC 3339")
	f("min_score=101", "0 to 100")
	f("min_score=-1", "0 to 100")
	f("source_ip=10.0.0.300", "source_ip")
	f("source_ip=10.0.0.0/33", "source_ip")
	f("source_ip=fe80::1%25eth0", "source_ip")
	f("cursor=", "cursor")
	f("cursor=abc", "cursor")
	f("key_id=%ff", "UTF-8")
}

func TestEventByID(t *testing.T) {
	a := newAPI(t)
	a.insert(row{id: 1}, row{id: 2, duplicateOf: 1}, row{id: 3, tenant: "other"})
	a.get("demo", "/api/events/1")
	for _, path := range []string{"2", "3", "4", "-1", "9007199254740992", "99999999999999999999", "abc", "1/", "%31x"} {
		a.refuse("demo", http.MethodGet, "/api/events/"+path, "", http.StatusNotFound)
	}
	a.refuse("demo", http.MethodGet, "/api/events/1?x=1", "", http.StatusBadRequest)
}

func TestScopes(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/api/events", "/api/events/1", "/api/keys", "/api/alerts", "/api/alerts/a", "/api/rules", "/api/rules/a"} {
		a.refuse("", http.MethodGet, path, "", http.StatusUnauthorized)
	}
	a.get("reader", "/api/rules")
	a.refuse("reader", http.MethodPost, "/api/rules", "{}", http.StatusForbidden, "rules")
	a.refuse("reader", http.MethodPost, "/api/rules/validate", "{}", http.StatusForbidden)
	a.refuse("reader", http.MethodPut, "/api/rules/a", "{}", http.StatusForbidden)
	a.refuse("reader", http.MethodDelete, "/api/rules/a", "", http.StatusForbidden)
}
