package main

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestOwnersDescribeKeys names a key before its first event, on one node, and finds it on another and after a kill.
func TestOwnersDescribeKeys(t *testing.T) {
	in := upAndReady(t)
	other, stop := in.role("query")
	r := in.call(http.MethodPut, "/api/keys/cold%2F1", `{"name":"Cold storage","key_type":"hsm","tags":["eu"],"rotation_period":"90d"}`)
	if r.status != http.StatusOK || !bytes.Contains(r.body, []byte(`"key_id":"cold/1"`)) || !bytes.Contains(r.body, []byte(`"last_activity":null`)) {
		t.Fatalf("PUT: %d %s", r.status, r.body)
	}
	named := func(at *instance, events int) func() error {
		return func() error {
			body := at.call(http.MethodGet, "/api/keys?q=cold+st", "").body
			want := fmt.Sprintf(`"name":"Cold storage","key_type":"hsm","status":"active","event_count":%d,`, events)
			if !bytes.Contains(body, []byte(want)) {
				return fmt.Errorf("%s", body)
			}
			return nil
		}
	}
	if err := named(in, 0)(); err != nil {
		t.Error("right after the PUT:", err)
	}
	await(t, "the name on another node", 20*time.Second, named(other, 0))
	in.post("cold/1", "signing_request")
	await(t, "the event", 20*time.Second, named(in, 1))
	stop()
	in.kill()
	in.start()
	in.ready()
	await(t, "the name after a kill", 20*time.Second, named(in, 1))
}
