package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"keypulse/internal/openapi/openapitest"
)

// browser is an HTTP client with cookies that says, as browsers do, that it asks from the server's own page.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: sameOrigin{openapitest.Transport(t, nil)}}
}

type sameOrigin struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s sameOrigin) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return s.base.RoundTrip(req)
}

// TestSessionAndTickets signs in as a browser does, opens the stream by the cookie and by tickets, and revokes the key.
func TestSessionAndTickets(t *testing.T) {
	in := upAndReady(t)
	in.withoutLimit()
	var made struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(output(t, in.settings, "apikey", "create", "--tenant", "demo", "--name", "analyst", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	page := &instance{t: t, url: in.url, client: browser(t)}
	await(t, "the new key", 10*time.Second, func() error {
		if r := page.call("POST", "/api/session", fmt.Sprintf(`{"api_key":%q}`, made.APIKey)); r.status != http.StatusCreated {
			return fmt.Errorf("signing in: %d %s", r.status, r.body)
		}
		return nil
	})
	if r := page.call("GET", "/api/session", ""); r.status != 200 || !strings.Contains(string(r.body), `"name":"analyst"`) {
		t.Fatalf("who am I: %d %s", r.status, r.body)
	}
	e := page.post("by-cookie", "export")

	ticket := func() string {
		t.Helper()
		var made struct{ Ticket string }
		r := page.call("POST", "/api/stream/tickets", "")
		r.into(t, &made)
		return made.Ticket
	}
	open := func(client *http.Client, query string) *http.Response {
		t.Helper()
		resp, err := client.Get(in.url + "/api/stream?" + query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	one := ticket()
	byTicket := open(http.DefaultClient, "ticket="+one)
	byCookie := open(page.client, "key_id=by-cookie")
	if byTicket.StatusCode != 200 || byCookie.StatusCode != 200 {
		t.Fatalf("the stream: %d by the ticket, %d by the cookie", byTicket.StatusCode, byCookie.StatusCode)
	}
	if again := open(http.DefaultClient, "ticket="+one); again.StatusCode != http.StatusUnauthorized {
		t.Errorf("the ticket again: %d", again.StatusCode)
	}
	next := page.post("by-cookie", "export")
	last := ""
	for _, resp := range []*http.Response{byTicket, byCookie} {
		w := &watch{t: t, body: resp.Body, in: bufio.NewScanner(resp.Body)}
		if got := w.ids(1); got[0] != next.ID {
			t.Errorf("the stream shows %v, want %d after %d", got, next.ID, e.ID)
		}
		last = w.id
	}
	missed := page.post("by-cookie", "rotation")
	w := &watch{t: t, body: open(http.DefaultClient, "ticket="+ticket()+"&last_event_id="+last).Body}
	w.in = bufio.NewScanner(w.body)
	if got := w.ids(1); got[0] != missed.ID {
		t.Errorf("after last_event_id: %v, want %d", got, missed.ID)
	}

	unused := ticket()
	output(t, in.settings, "apikey", "revoke", made.ID)
	for _, resp := range []*http.Response{byCookie, byTicket} {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("the streams' end: %v", err)
		}
	}
	await(t, "the session's end", 10*time.Second, func() error {
		if r := page.call("GET", "/api/session", ""); r.status != http.StatusForbidden {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	if resp := open(http.DefaultClient, "ticket="+unused); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a revoked key's ticket: %d", resp.StatusCode)
	}
	for _, secret := range []string{unused, one, made.APIKey} {
		if bytes.Contains([]byte(in.printed()), []byte(secret)) {
			t.Errorf("the log has %.12s…", secret)
		}
	}
}
