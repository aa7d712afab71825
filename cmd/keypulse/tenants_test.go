package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keypulse/internal/openapi/openapitest"
)

// demosOwn stands in everything that tenant demo has, and nowhere in what the other tenant sends.
const demosOwn = "DEMOS-OWN"

// crossings say for each route how the other tenant tries for what is demo's. A route without one fails the test.
var crossings = map[string]func(*crossing){
	"GET /api/events": func(x *crossing) {
		for _, filter := range []string{
			"", "key_id=" + demosOwn, "key_id=treasury", "event_type=export", "severity=critical", "actor=" + demosOwn, "source_ip=10.0.0.0/8", "min_score=1",
			"since=2020-01-01T00:00:00Z", "details.note=" + demosOwn, "limit=1", "cursor=" + x.cursors["/api/events"],
		} {
			x.empty("/api/events?"+filter, "events")
		}
	},
	"GET /api/events/{id}": func(x *crossing) { x.absent("GET", "/api/events/{id}", x.event, "1", "") },
	"POST /api/events": func(x *crossing) {
		x.ownEvent(x.call("POST", "/api/events", sharedEvent).body)
	},
	"POST /api/events/batch": func(x *crossing) {
		var batch struct{ Events []json.RawMessage }
		x.call("POST", "/api/events/batch", `{"events":[`+strings.Replace(sharedEvent, "once", "once-batch", 1)+`]}`).into(x.t, &batch)
		x.ownEvent(batch.Events[0])
	},
	"POST /api/events/bulk": func(x *crossing) {
		if r := x.bulk(strings.Replace(sharedEvent, "once", "once-bulk", 1)); r.status != http.StatusCreated || strings.Contains(string(r.body), "duplicate") || !strings.Contains(string(r.body), `"alerts_triggered":0`) {
			x.t.Errorf("a bulk request: %d %s", r.status, r.body)
		}
	},
	"GET /api/stream": func(x *crossing) {
		for _, query := range []string{"", "key_id=treasury", "last_event_id=" + x.position} {
			x.ownStream(x.b.watch(query, ""))
		}
		x.ownStream(x.b.watch("", x.position))
	},
	"POST /api/stream/tickets": func(x *crossing) {
		var made struct{ Ticket string }
		x.call("POST", "/api/stream/tickets", "").into(x.t, &made)
		x.ownStream((&instance{t: x.t, url: x.b.url}).watch("ticket="+made.Ticket, ""))
	},
	"POST /api/session":   func(x *crossing) { x.session() },
	"GET /api/session":    func(x *crossing) { x.session() },
	"DELETE /api/session": func(x *crossing) { x.session() },
	"GET /api/keys": func(x *crossing) {
		for _, filter := range []string{"", "limit=10", "q=" + demosOwn, "q=treasury", "status=suspended", "limit=1&cursor=" + x.cursors["/api/keys"]} {
			x.empty("/api/keys?"+filter, "keys")
		}
	},
	"GET /api/keys/{key_id}": func(x *crossing) { x.absent("GET", "/api/keys/{id}", "treasury", "no-key", "") },
	"GET /api/activity": func(x *crossing) {
		for _, filter := range []string{"", "key_id=treasury", "since=2020-01-01T00:00:00Z&step=604800&key_id=" + demosOwn} {
			if r := x.call("GET", "/api/activity?"+filter, ""); !strings.Contains(string(r.body), `"activity":[]`) {
				x.t.Errorf("GET /api/activity?%s: %d %s", filter, r.status, r.body)
			}
		}
	},
	"PUT /api/keys/{key_id}": func(x *crossing) {
		r := x.call("PUT", "/api/keys/treasury", `{"name":"ours","version":0}`)
		if text := string(r.body); r.status != http.StatusOK || !strings.Contains(text, `"version":1`) {
			x.t.Errorf("a key of the same name: %d %s, want a first version", r.status, r.body)
		}
		if x.call("PUT", "/api/keys/treasury", `{"name":"ours","version":2}`).status != http.StatusConflict {
			x.t.Error("demo's version of a key counts for the other's")
		}
	},
	"GET /api/stats": func(x *crossing) { x.same("/api/stats") },
	"GET /api/alerts": func(x *crossing) {
		for _, filter := range []string{"", "rule=demos-rule", "key_id=treasury", "state=open", "state=acked", "severity=critical", "since=2020-01-01T00:00:00Z", "limit=1&cursor=" + x.cursors["/api/alerts"]} {
			x.empty("/api/alerts?"+filter, "alerts")
		}
	},
	"GET /api/alerts/{id}": func(x *crossing) { x.absent("GET", "/api/alerts/{id}", x.alert, noAlert, "") },
	"POST /api/alerts/{id}/ack": func(x *crossing) {
		x.absent("POST", "/api/alerts/{id}/ack", x.alert, noAlert, `{"comment":"ours now"}`)
	},
	"POST /api/alerts/{id}/resolve": func(x *crossing) { x.absent("POST", "/api/alerts/{id}/resolve", x.alert, noAlert, "") },
	"POST /api/alerts/{id}/reopen":  func(x *crossing) { x.absent("POST", "/api/alerts/{id}/reopen", x.alert, noAlert, "") },
	"GET /api/rules":                func(x *crossing) { x.empty("/api/rules", "rules") },
	"POST /api/rules": func(x *crossing) {
		if r := x.call("POST", "/api/rules", anyRule); r.status != http.StatusCreated || !strings.Contains(string(r.body), `"version":1`) {
			x.t.Errorf("a rule of the same id: %d %s, want a first version", r.status, r.body)
		}
		if r := x.call("DELETE", "/api/rules/demos-rule", ""); r.status != http.StatusNoContent {
			x.t.Errorf("its end: %d %s", r.status, r.body)
		}
	},
	"POST /api/rules/validate": func(x *crossing) {
		if r := x.call("POST", "/api/rules/validate", anyRule); r.status != http.StatusOK {
			x.t.Errorf("%d %s", r.status, r.body)
		}
	},
	"POST /api/rules/trial": func(x *crossing) {
		r := x.call("POST", "/api/rules/trial", `{"rule":`+anyRule+`,"events":[{"key_id":"treasury","event_type":"export"}]}`)
		if r.status != http.StatusOK || strings.Contains(string(r.body), `"score":40`) {
			x.t.Errorf("%d %s", r.status, r.body)
		}
	},
	"GET /api/rules/{id}": func(x *crossing) { x.absent("GET", "/api/rules/{id}", "demos-rule", "no-rule", "") },
	"PUT /api/rules/{id}": func(x *crossing) {
		x.absent("PUT", "/api/rules/{id}", "demos-rule", "no-rule", `{"version":1,"name":"n","when":"true","severity":"nominal"}`)
	},
	"DELETE /api/rules/{id}":   func(x *crossing) { x.absent("DELETE", "/api/rules/{id}", "demos-rule", "no-rule", "") },
	"GET /api/admin/api-keys":  func(x *crossing) { x.listKeys("/api/admin/api-keys") },
	"POST /api/admin/api-keys": func(x *crossing) { x.makeKey("/api/admin/api-keys") },
	"GET /api/webhooks":        func(x *crossing) { x.empty("/api/webhooks", "webhooks") },
	"POST /api/webhooks": func(x *crossing) {
		var w webhook
		r := x.call("POST", "/api/webhooks", `{"name":"ours","url":"https://example.com","enabled":false}`)
		if r.into(x.t, &w); r.status != http.StatusCreated || w.ID == x.webhook {
			x.t.Errorf("a webhook: %d %s", r.status, r.body)
		}
	},
	"GET /api/webhooks/{id}": func(x *crossing) { x.absent("GET", "/api/webhooks/{id}", x.webhook, noWebhook, "") },
	"PUT /api/webhooks/{id}": func(x *crossing) {
		x.absent("PUT", "/api/webhooks/{id}", x.webhook, noWebhook, `{"version":1,"name":"ours now","url":"https://example.com"}`)
	},
	"DELETE /api/webhooks/{id}":         func(x *crossing) { x.absent("DELETE", "/api/webhooks/{id}", x.webhook, noWebhook, "") },
	"POST /api/webhooks/{id}/rotate":    func(x *crossing) { x.absent("POST", "/api/webhooks/{id}/rotate", x.webhook, noWebhook, "") },
	"POST /api/webhooks/{id}/test":      func(x *crossing) { x.absent("POST", "/api/webhooks/{id}/test", x.webhook, noWebhook, "") },
	"GET /api/webhooks/{id}/deliveries": func(x *crossing) { x.absent("GET", "/api/webhooks/{id}/deliveries", x.webhook, noWebhook, "") },
	"POST /api/webhooks/{id}/deliveries/{delivery}/resend": func(x *crossing) {
		x.absent("POST", "/api/webhooks/{id}/deliveries/msg_x/resend", x.webhook, noWebhook, "")
	},
	"GET /api/silences": func(x *crossing) { x.empty("/api/silences", "silences") },
	"POST /api/silences": func(x *crossing) {
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		if r := x.call("POST", "/api/silences", fmt.Sprintf(`{"reason":"ours","until":%q}`, until)); r.status != http.StatusCreated || !strings.Contains(string(r.body), `"count":0`) {
			x.t.Errorf("a silence: %d %s", r.status, r.body)
		}
	},
	"GET /api/silences/{id}":       func(x *crossing) { x.absent("GET", "/api/silences/{id}", x.silence, noSilence, "") },
	"DELETE /api/silences/{id}":    func(x *crossing) { x.absent("DELETE", "/api/silences/{id}", x.silence, noSilence, "") },
	"GET /api/admin/api-keys/{id}": func(x *crossing) { x.absent("GET", "/api/admin/api-keys/{id}", x.key, noKey, "") },
	"PATCH /api/admin/api-keys/{id}": func(x *crossing) {
		x.absent("PATCH", "/api/admin/api-keys/{id}", x.key, noKey, `{"version":1,"name":"ours now"}`)
	},
	"POST /api/admin/api-keys/{id}/rotate": func(x *crossing) { x.absent("POST", "/api/admin/api-keys/{id}/rotate", x.key, noKey, `{}`) },
	"POST /api/admin/api-keys/{id}/revoke": func(x *crossing) { x.absent("POST", "/api/admin/api-keys/{id}/revoke", x.key, noKey, "") },
	"GET /api/session/api-keys":            func(x *crossing) { x.listKeys("/api/session/api-keys") },
	"POST /api/session/api-keys":           func(x *crossing) { x.makeKey("/api/session/api-keys") },
	"GET /api/session/api-keys/{id}":       func(x *crossing) { x.absent("GET", "/api/session/api-keys/{id}", x.key, noKey, "") },
	"PATCH /api/session/api-keys/{id}": func(x *crossing) {
		x.absent("PATCH", "/api/session/api-keys/{id}", x.key, noKey, `{"version":1,"name":"ours now"}`)
	},
	"POST /api/session/api-keys/{id}/rotate": func(x *crossing) { x.absent("POST", "/api/session/api-keys/{id}/rotate", x.key, noKey, `{}`) },
	"POST /api/session/api-keys/{id}/revoke": func(x *crossing) { x.absent("POST", "/api/session/api-keys/{id}/revoke", x.key, noKey, "") },
	"GET /signup":                            func(*crossing) {}, // these are for those who have no tenant, and off here: TestSignup
	"POST /signup":                           func(*crossing) {},
	"GET /signup/confirm":                    func(*crossing) {},
	"POST /signup/confirm":                   func(*crossing) {},
	"GET /healthz":                           func(x *crossing) { x.same("/healthz") },
	"GET /readyz":                            func(x *crossing) { x.same("/readyz") },
	"GET /metrics":                           func(x *crossing) { x.call("GET", "/metrics", "") },
	"GET /openapi.json":                      func(x *crossing) { x.same("/openapi.json") },
	"GET /docs":                              func(x *crossing) { x.same("/docs") },
}

const (
	// sharedEvent is what both tenants send, with the same identity.
	sharedEvent = `{"key_id":"treasury","event_type":"export","severity":"warning","event_id":"once"}`
	anyRule     = `{"id":"demos-rule","name":"n","when":"event_type == \"no such type\"","severity":"nominal"}`
	noAlert     = "al_000000000000000000000000"
	noWebhook   = "wh_aaaaaaaaaaaaaaaaaaaa"
	noSilence   = "si_aaaaaaaaaaaaaaaaaaaa"
	noKey       = "01a212cf-419a-7cfa-9547-61b633d7f55b"
)

// crossing is two tenants: demo (a), who has something of everything, and other (b), who has nothing and wants it.
type crossing struct {
	t            *testing.T
	a, b         *instance
	admin, wants *instance // their clients of the admin API
	page         *instance // the other's, in a browser that has signed in with an admin key

	event, alert, key string            // ids of demo's
	webhook, silence  string            // the same
	position          string            // of demo's stream
	cursors           map[string]string // of demo's lists, by their paths
}

// TestOtherTenantsSeeNothing walks every route of the router with the other tenant's key.
func TestOtherTenantsSeeNothing(t *testing.T) {
	in := upAndReady(t)
	x := &crossing{t: t, a: clientOf(t, in, "demo", demosOwn), b: clientOf(t, in, "other", "other's")}
	x.admin, x.wants = adminOf(t, in, "demo"), adminOf(t, in, "other")
	awaitKey(t, x.admin, http.StatusOK)
	awaitKey(t, x.wants, http.StatusOK)
	x.page = &instance{t: t, url: in.url, client: browser(t)}
	if r := x.page.call("POST", "/api/session", fmt.Sprintf(`{"api_key":%q}`, x.wants.apiKey)); r.status != http.StatusCreated {
		t.Fatalf("signing in: %d %s", r.status, r.body)
	}
	x.fill()
	before := x.world()

	param := regexp.MustCompile(`:(\w+)(<[^>]*>)?`)
	var routes []string
	for _, route := range newRouter(t).App().GetRoutes(true) {
		if route.Method != http.MethodHead {
			routes = append(routes, route.Method+" "+param.ReplaceAllString(route.Path, "{$1}"))
		}
	}
	// Reads come first, while the other tenant has nothing.
	slices.SortFunc(routes, func(a, b string) int { return strings.Compare(order(a), order(b)) })
	for _, route := range slices.Compact(routes) {
		try := crossings[route]
		if try == nil {
			t.Errorf("%s: nobody tries it for another tenant's data: add a case to crossings", route)
			continue
		}
		t.Run(route, func(t *testing.T) {
			y := x.in(t)
			try(y)
		})
	}
	for route := range crossings {
		if !slices.Contains(routes, route) {
			t.Errorf("crossings has %s and the router does not", route)
		}
	}
	if after := x.world(); after != before {
		t.Errorf("what is demo's has changed from\n%s\nto\n%s", before, after)
	}
}

func order(route string) string {
	if strings.HasPrefix(route, "GET ") {
		return " " + route
	}
	return route
}

// in is the crossing for a subtest.
func (x *crossing) in(t *testing.T) *crossing {
	y := *x
	y.t = t
	for _, client := range []**instance{&y.a, &y.b, &y.admin, &y.wants, &y.page} {
		*client = &instance{t: t, url: (*client).url, apiKey: (*client).apiKey, client: (*client).client}
	}
	return &y
}

// clientOf is a client of an instance with a new API key of a tenant that works.
func clientOf(t *testing.T, in *instance, tenant, name string) *instance {
	t.Helper()
	var made struct {
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(output(t, in.settings, "apikey", "create", "--tenant", tenant, "--name", name, "--rate-limit", "0", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	client := &instance{t: t, url: in.url, apiKey: made.APIKey}
	await(t, "the API key of "+tenant, 20*time.Second, func() error {
		if r := client.call("GET", "/api/rules", ""); r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	return client
}

// fill gives demo something of everything.
func (x *crossing) fill() {
	must := func(method, path, body string) reply {
		x.t.Helper()
		r := x.a.call(method, path, body)
		if r.status >= 300 {
			x.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
		}
		return r
	}
	must("POST", "/api/rules", fmt.Sprintf(`{"id":"demos-rule","name":%q,"when":"event_type == \"export\"","severity":"critical","score":40,"message":%q}`, demosOwn, demosOwn))
	await(x.t, "an alert", 20*time.Second, func() error {
		body := fmt.Sprintf(`{"key_id":"treasury","event_type":"export","severity":"critical","source_ip":"10.0.0.9","actor":%q,"details":{"note":%q}}`, demosOwn, demosOwn)
		if r := must("POST", "/api/events", body); !strings.Contains(string(r.body), `"alerts_triggered":1`) {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})
	w := x.a.watch("", "")
	must("POST", "/api/events", sharedEvent)
	must("POST", "/api/events", strings.Replace(sharedEvent, "once", "once-batch", 1))
	must("POST", "/api/events", strings.Replace(sharedEvent, "once", "once-bulk", 1))
	x.event = fmt.Sprint(x.a.post(demosOwn, "export").ID)
	w.ids(1)
	x.position = w.id // behind it is more of demo's
	_ = w.body.Close()
	for range 2 { // versions
		must("PUT", "/api/keys/treasury", fmt.Sprintf(`{"name":%q,"status":"suspended","tags":[%q]}`, demosOwn, demosOwn))
	}
	await(x.t, "alerts in the list", 20*time.Second, func() error {
		all := x.a.alerts("open")
		if len(all) < 2 {
			return fmt.Errorf("%d", len(all))
		}
		x.alert = all[1].ID
		return nil
	})
	must("POST", "/api/alerts/"+x.alert+"/ack", fmt.Sprintf(`{"comment":%q}`, demosOwn))
	var made webhook
	must("POST", "/api/webhooks", fmt.Sprintf(`{"name":%q,"url":"https://example.com/%s","enabled":false}`, demosOwn, demosOwn)).into(x.t, &made)
	x.webhook = made.ID
	must("POST", "/api/silences", fmt.Sprintf(`{"reason":%q,"until":%q}`, demosOwn, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))).into(x.t, &made)
	x.silence = made.ID
	x.key = x.admin.ask("POST", "/api/admin/api-keys", fmt.Sprintf(`{"name":%q,"scopes":["read"]}`, demosOwn), http.StatusCreated).ID
	await(x.t, "everything in the lists", 20*time.Second, func() error {
		if n := len(x.a.events("limit=500")); n < 5 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	x.cursors = map[string]string{keysPath: x.admin.cursor(keysPath)}
	for _, list := range []string{"/api/events", "/api/keys", "/api/alerts"} {
		x.cursors[list] = x.a.cursor(list)
	}
}

// passing is what changes by itself, and by what demo does meanwhile: see ownStream.
var passing = regexp.MustCompile(`"(risk_score|last_used|event_count|last_activity)":[^,}]*`)

// world is all that demo has, as demo sees it.
func (x *crossing) world() string {
	var all strings.Builder
	for _, path := range []string{"/api/webhooks", "/api/silences", "/api/rules", "/api/alerts", "/api/alerts/" + x.alert, "/api/keys", "/api/events?limit=500&event_type=export"} {
		all.Write(x.a.call("GET", path, "").body)
	}
	all.Write(x.admin.call("GET", "/api/admin/api-keys/"+x.key, "").body)
	return passing.ReplaceAllString(all.String(), "")
}

// call sends a request of the other tenant, and finds nothing of demo's in the answer.
func (x *crossing) call(method, path, body string) reply {
	x.t.Helper()
	client := x.b
	switch {
	case strings.HasPrefix(path, "/api/admin/"):
		client = x.wants
	case strings.HasPrefix(path, "/api/session/"):
		client = x.page
	}
	r := client.call(method, path, body)
	x.clean(method+" "+path, string(r.body), r.header)
	return r
}

// bulk sends a bulk request of the other tenant.
func (x *crossing) bulk(lines string) reply {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.b.url+"/api/events/bulk", strings.NewReader(lines))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.b.apiKey)
	req.Header.Set("Content-Type", "application/x-ndjson")
	r, err := openapitest.Client(x.t).Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	x.clean("a bulk request", string(body), r.Header)
	return reply{r.StatusCode, r.Header, body}
}

// clean finds nothing of demo's in an answer.
func (x *crossing) clean(where, body string, header http.Header) {
	x.t.Helper()
	for _, own := range []string{demosOwn, x.alert, x.key} {
		if strings.Contains(body, own) || strings.Contains(fmt.Sprint(header), own) {
			x.t.Errorf("%s shows %s: %v %s", where, own, header, body)
		}
	}
}

// absent wants the same answer about what is demo's as about what does not exist: 404.
func (x *crossing) absent(method, path, demos, nobodys, body string) {
	x.t.Helper()
	got := x.call(method, strings.NewReplacer("{id}", demos).Replace(path), body)
	want := x.call(method, strings.NewReplacer("{id}", nobodys).Replace(path), body)
	if got.status != http.StatusNotFound || told(got) != told(want) {
		x.t.Errorf("%s %s tells what is another's from what is not there:\n%s\n%s", method, path, told(got), told(want))
	}
}

var requestID = regexp.MustCompile(`"request_id":"[^"]*"`)

// told is all that an answer tells, but when and to whom.
func told(r reply) string {
	h := r.header.Clone()
	for _, name := range []string{"X-Request-Id", "Date"} {
		h.Del(name)
	}
	return fmt.Sprint(r.status, h, requestID.ReplaceAllString(string(r.body), ""))
}

// empty wants a list without rows.
func (x *crossing) empty(path, name string) {
	x.t.Helper()
	want := `{"success":true,"` + name + `":[],"next_cursor":null,"has_more":false}`
	if r := x.call("GET", path, ""); r.status != http.StatusOK || string(r.body) != want {
		x.t.Errorf("GET %s: %d %s, want %s", path, r.status, r.body, want)
	}
}

// cursor is one that a list gives.
func (in *instance) cursor(path string) string {
	in.t.Helper()
	var list struct {
		NextCursor string `json:"next_cursor"`
	}
	await(in.t, "a second page of "+path, 20*time.Second, func() error {
		r := in.call("GET", path+"?limit=1", "")
		if r.into(in.t, &list); list.NextCursor == "" {
			return fmt.Errorf("%s", r.body)
		}
		return nil
	})
	return list.NextCursor
}

// same wants what is public to be the same for both tenants.
func (x *crossing) same(path string) {
	x.t.Helper()
	if got, want := x.call("GET", path, ""), x.a.call("GET", path, ""); got.status != http.StatusOK || string(got.body) != string(want.body) {
		x.t.Errorf("GET %s: the other tenant sees %d %s, demo %s", path, got.status, got.body, want.body)
	}
}

// ownEvent wants an event that demo has sent before to be the other's first.
func (x *crossing) ownEvent(body []byte) {
	x.t.Helper()
	var e sent
	if err := json.Unmarshal(body, &e); err != nil || e.ID == 0 || e.Duplicate || e.AlertsTriggered != 0 || fmt.Sprint(e.ID) == x.event {
		x.t.Errorf("%s (%v): want an event of its own, that raises nothing by demo's rules", body, err)
	}
}

// ownStream wants a stream to show the other tenant's events and nothing else, gaps perhaps.
func (x *crossing) ownStream(w *watch) {
	x.t.Helper()
	defer w.body.Close()
	if r := x.a.call("POST", "/api/events", fmt.Sprintf(`{"key_id":"treasury","event_type":"seen","severity":"nominal","actor":%q}`, demosOwn)); r.status != http.StatusCreated {
		x.t.Fatalf("%d %s", r.status, r.body)
	}
	own := x.b.post("treasury", "only-ours")
	for {
		name, data := w.next()
		x.clean("the stream", string(data), nil)
		var e event
		switch err := json.Unmarshal(data, &e); {
		case name == "gap":
		case name != "event" || err != nil || e.EventType != "only-ours":
			x.t.Fatalf("the stream shows %s %s", name, data)
		case e.ID == own.ID:
			return
		}
	}
}

const keysPath = "/api/admin/api-keys"

// listKeys wants a list of API keys to have the other tenant's, and a cursor of demo's to be none.
func (x *crossing) listKeys(path string) {
	x.t.Helper()
	var list struct {
		APIKeys []struct{ Name string } `json:"api_keys"`
	}
	x.call("GET", path, "").into(x.t, &list)
	for _, k := range list.APIKeys {
		if !strings.HasPrefix(k.Name, "other") && k.Name != "admin" {
			x.t.Errorf("the other tenant sees the API key %q", k.Name)
		}
	}
	got, want := x.call("GET", path+"?cursor="+x.cursors[keysPath], ""), x.call("GET", path+"?cursor="+noKey, "")
	if len(list.APIKeys) != 2 || got.status != http.StatusBadRequest || told(got) != told(want) {
		x.t.Errorf("%d API keys; by a cursor of demo's %s, by one of nobody's %s", len(list.APIKeys), told(got), told(want))
	}
}

// makeKey makes API keys of the other tenant alone.
func (x *crossing) makeKey(path string) {
	x.t.Helper()
	if r := x.call("POST", path, `{"name":"other's","tenant":"demo"}`); r.status != http.StatusBadRequest {
		x.t.Errorf("an API key for demo: %d %s", r.status, r.body)
	}
	if r := x.call("POST", path, `{"name":"other's"}`); r.status != http.StatusCreated {
		x.t.Errorf("an API key: %d %s", r.status, r.body)
	}
}

// session signs in, asks who it is and signs out.
func (x *crossing) session() {
	x.t.Helper()
	page := &instance{t: x.t, url: x.b.url, client: browser(x.t)}
	in := page.call("POST", "/api/session", fmt.Sprintf(`{"api_key":%q}`, x.b.apiKey))
	who := page.call("GET", "/api/session", "")
	list := page.call("GET", "/api/rules", "")
	out := page.call("DELETE", "/api/session", "")
	for _, r := range []reply{in, who, list, out} {
		x.clean("the session", string(r.body), r.header)
	}
	if in.status != http.StatusCreated || !strings.Contains(string(who.body), `"tenant":"other"`) || list.status != http.StatusOK || out.status != http.StatusNoContent {
		x.t.Errorf("the session: %s, %s, %s, %d", in.body, who.body, list.body, out.status)
	}
}
