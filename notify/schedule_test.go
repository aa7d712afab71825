package notify

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestSchedule(t *testing.T) {
	total := time.Duration(0)
	for step, d := range DefaultSchedule {
		total += d
		for range 100 {
			got, again := wait(DefaultSchedule, step, 0)
			if !again || got < d || got > d+d/5 {
				t.Fatalf("step %d: %v, want %v and at most a fifth more", step, got, d)
			}
		}
		if got, _ := wait(DefaultSchedule, step, 30*time.Hour); got != 30*time.Hour {
			t.Errorf("step %d: %v, though the target asks for 30 h", step, got)
		}
	}
	if total != 75*time.Hour+35*time.Minute+5*time.Second {
		t.Errorf("the schedule lasts %v, the specification's 75:35:05", total)
	}
	if _, again := wait(DefaultSchedule, len(DefaultSchedule), 0); again {
		t.Error("it goes on after its end")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-1": 0, "x": 0, "99999999": maxRetryAfter, "1.5": 0,
		"Wed, 25 Nov 2026 12:00:30 GMT": 30 * time.Second, "Wed, 25 Nov 2020 12:00:30 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestSignature has the specification's own library verify ours, by each of two secrets and by no other.
func TestSignature(t *testing.T) {
	old, now := NewSecret(), NewSecret()
	body := []byte(`{"type":"alert.raised","data":"ü"}`)
	at := time.Now().Unix()
	signature, err := sign("msg_1", at, body, now, old)
	if err != nil || len(strings.Fields(signature)) != 2 {
		t.Fatalf("%q, %v", signature, err)
	}
	for secret, want := range map[string]bool{old: true, now: true, NewSecret(): false} {
		hook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		header.Set("webhook-id", "msg_1")
		header.Set("webhook-timestamp", strconv.FormatInt(at, 10))
		header.Set("webhook-signature", signature)
		if err := hook.Verify(body, header); (err == nil) != want {
			t.Errorf("verified: %v, want %v", err, want)
		}
		if err := hook.Verify(append(body, ' '), header); err == nil {
			t.Error("another body is verified")
		}
	}
}
