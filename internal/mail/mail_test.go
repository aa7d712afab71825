package mail

import (
	"bufio"
	"context"
	"net"
	netmail "net/mail"
	"strings"
	"testing"
	"time"
)

// TestSilentServersEndWithTheContext has servers that accept a connection, perhaps say something, and then nothing more: who sends
// waits no longer than its context allows.
func TestSilentServersEndWithTheContext(t *testing.T) {
	for name, says := range map[string][]string{
		"nothing": nil, "a greeting": {"220 hello"}, "no handshake": {"220 hello", "250-hello\r\n250 STARTTLS", "220 go on"},
	} {
		for _, kind := range []string{StartTLS, ImplicitTLS, NoTLS} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				address := silent(t, says)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				sent := make(chan error, 1)
				go func() {
					sent <- Send(ctx, Config{Address: address, TLS: kind, From: "a@example.com"}, Message{ID: "1", To: []string{"b@example.com"}})
				}()
				select {
				case err := <-sent:
					if err == nil {
						t.Error("it has sent the mail")
					}
				case <-time.After(time.Minute):
					t.Error("it still waits")
				}
			})
		}
	}
}

// silent serves one connection until the test ends: it says the first line, and a further one for each line that it reads.
func silent(t *testing.T, says []string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		lines := bufio.NewScanner(c)
		for i := 0; i == 0 || lines.Scan(); i++ {
			if i < len(says) {
				_, _ = c.Write([]byte(says[i] + "\r\n"))
			}
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// TestHeadersAreOneLineEach has text that would make headers of its own, if it could.
func TestHeadersAreOneLineEach(t *testing.T) {
	m := Message{ID: "1", To: []string{"b@example.com"}, Subject: "a\r\nBcc: c@example.com\n\nbody", Text: "x\n.\r\nQUIT"}
	parsed, err := netmail.ReadMessage(strings.NewReader(string(m.bytes(&netmail.Address{Address: "a@example.com"}, time.Unix(0, 0)))))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header.Get("Bcc") != "" || len(parsed.Header) != 9 {
		t.Errorf("%v", parsed.Header)
	}
	for _, bad := range []string{"", "a", "a@b", "a@example.com\r\nBcc: c@example.com", "a@example.com, c@example.com", "<a@example.com>", `"a,b"@example.com`, "ä@example.com", "a b@example.com"} {
		if _, err := ParseAddress(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
