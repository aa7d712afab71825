package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer is a mail server that wants TLS and a password.
type mailServer struct {
	settings []string

	mu  sync.Mutex
	all []received // guards the following
}

type received struct {
	from, to, id, subject, text string
}

// newMailServer serves until the test ends, with STARTTLS or, implicit, with TLS from the first byte.
func newMailServer(t *testing.T, implicit bool) *mailServer {
	t.Helper()
	m := new(mailServer)
	certificate, ca := selfSigned(t)
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: m}, nil }))
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way := "starttls"
	m.settings = []string{
		"KEYPULSE_SMTP_ADDRESS=" + l.Addr().String(), "KEYPULSE_SMTP_CA_FILE=" + ca, "KEYPULSE_SMTP_USER=keypulse", "KEYPULSE_SMTP_PASSWORD=secret",
		"KEYPULSE_MAIL_FROM=KeyPulse <keypulse@example.com>",
	}
	if implicit {
		way, l = "tls", tls.NewListener(l, s.TLSConfig)
	}
	m.settings = append(m.settings, "KEYPULSE_SMTP_TLS="+way)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return m
}

// selfSigned makes a certificate of this machine, and a file that signs it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// mailSession is one connection.
type mailSession struct {
	server *mailServer
	known  bool
	mail   received
}

// AuthMechanisms is part of smtp.AuthSession, as Auth.
func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth wants the password.
func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.known = user == "keypulse" && password == "secret"; !s.known {
			return errors.New("wrong password")
		}
		return nil
	}), nil
}

// Mail is part of smtp.Session, as the following.
func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.mail.from = from
	return nil
}

// Rcpt takes a receiver.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = to
	return nil
}

// Data takes the mail.
func (s *mailSession) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	s.mail.id, s.mail.subject, s.mail.text = m.Header.Get("Message-ID"), m.Header.Get("Subject"), string(text)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.all = append(s.server.all, s.mail)
	return nil
}

// Reset forgets the mail.
func (s *mailSession) Reset() { s.mail = received{} }

// Logout ends the session.
func (s *mailSession) Logout() error { return nil }

func (m *mailServer) got() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.all...)
}

// page is an answer with HTML.
func (in *instance) page(method, path string, form url.Values) reply {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), method, in.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		in.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	if policy := r.Header.Get("Content-Security-Policy"); strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") &&
		(!strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(string(body), "<script")) {
		in.t.Errorf("%s %s: policy %s", method, path, policy)
	}
	return reply{r.StatusCode, r.Header, body}
}

var linkPattern = regexp.MustCompile(`https://keypulse\.example\.com(/signup/confirm\?token=[A-Za-z0-9_-]+)`)

func TestSignup(t *testing.T) {
	server := newMailServer(t, false)
	in := newInstance(t)
	in.settings = append(append(in.settings, server.settings...), "KEYPULSE_SIGNUP=true", "KEYPULSE_PUBLIC_URL=https://keypulse.example.com/")
	in.start()
	in.ready()

	if r := in.page("GET", "/signup", nil); r.status != 200 || !strings.Contains(string(r.body), `<label for="email">`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	ask := func(address, company string) reply {
		return in.page("POST", "/signup", url.Values{"email": {address}, "company": {company}})
	}
	link := func(n int) string { // of the n-th mail
		t.Helper()
		await(t, "a mail", 30*time.Second, func() error {
			if got := len(server.got()); got < n {
				return fmt.Errorf("%d mails", got)
			}
			return nil
		})
		m := server.got()[n-1]
		found := linkPattern.FindStringSubmatch(m.text)
		if found == nil || m.to != "alice@example.com" || m.from != "keypulse@example.com" || strings.Contains(m.text, "Acme") {
			t.Fatalf("%+v", m)
		}
		return found[1]
	}
	for _, bad := range [][2]string{{"", "Acme"}, {"alice", "Acme"}, {"alice@example.com", ""}, {"Alice <alice@example.com>", "Acme"}, {"a@b.c\r\nBcc: d@e.f", "Acme"}, {"alice@example.com", strings.Repeat("x", 101)}} {
		if r := ask(bad[0], bad[1]); r.status != 400 || !strings.Contains(string(r.body), `role="alert"`) {
			t.Errorf("%q: %d %s", bad, r.status, r.body)
		}
	}
	first := ask("alice@example.com", `Acme <Custody> & Co.`)
	if first.status != 200 || !strings.Contains(string(first.body), "alice@example.com") {
		t.Fatalf("%d %s", first.status, first.body)
	}

	path := link(1)
	for range 2 { // programs that look at links
		if r := in.page("GET", path, nil); r.status != 200 || !strings.Contains(string(r.body), "Acme &lt;Custody&gt; &amp; Co.") || r.header.Get("Referrer-Policy") != "no-referrer" {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	token := url.Values{"token": {strings.TrimPrefix(path, "/signup/confirm?token=")}}
	var pages [4]reply
	var wait sync.WaitGroup
	for i := range pages { // at once: one makes the tenant
		wait.Go(func() { pages[i] = in.page("POST", "/signup/confirm", token) })
	}
	wait.Wait()
	made := ""
	for _, r := range pages {
		switch key := keyPattern.FindString(string(r.body)); {
		case r.status == 201 && key != "" && made == "":
			made = key
		case r.status != 400 || key != "":
			t.Errorf("%d %.200s", r.status, r.body)
		}
	}
	owner := &instance{t: t, url: in.url, apiKey: made}
	owner.want("POST", "/api/events", `{"key_id":"k","event_type":"t","severity":"nominal"}`, 201, nil)
	owner.want("GET", "/api/rules", "", 200, nil)
	admin := &instance{t: t, url: strings.Replace(in.url, strings.TrimPrefix(in.url, "http://"), adminAddress(in), 1), apiKey: made}
	admin.want("GET", "/api/admin/api-keys", "", 200, nil)
	for _, r := range []reply{in.page("POST", "/signup/confirm", token), in.page("GET", path, nil), in.page("GET", path[:len(path)-4]+"AAAA", nil), in.page("GET", "/signup/confirm", nil)} {
		if r.status != 400 || strings.Contains(string(r.body), made) || string(r.body) != string(in.page("GET", path, nil).body) {
			t.Errorf("a link that does not work: %d %s", r.status, r.body)
		}
	}

	// A known address, an unknown one, and one that has got enough mails are answered alike.
	known := ask("alice@example.com", "Acme")
	link(2)
	ask("alice@example.com", "Acme")
	link(3)
	for i, r := range []reply{known, ask("alice@example.com", "Acme")} {
		if r.status != first.status || string(r.body) != string(first.body) {
			t.Errorf("answer %d differs: %d %s", i, r.status, r.body)
		}
	}
	refused := 0
	for i := range 30 {
		if r := ask(fmt.Sprintf("user-%d@example.com", i), "Acme"); r.status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 30-(20-4) {
		t.Errorf("%d of 34 were refused for their network, 20 may pass", refused)
	}
	mails := 0
	for _, m := range server.got() {
		if m.to == "alice@example.com" {
			mails++
		}
	}
	if mails != 3 {
		t.Errorf("%d mails to an address, at most 3 may go", mails)
	}
}

// adminAddress is where an instance's admin API is.
func adminAddress(in *instance) string {
	for _, setting := range in.settings {
		if address, ok := strings.CutPrefix(setting, "KEYPULSE_ADMIN_LISTEN="); ok {
			return address
		}
	}
	return ""
}

// TestSignupIsOff wants nothing where nobody has turned it on.
func TestSignupIsOff(t *testing.T) {
	in := upAndReady(t)
	for _, path := range []string{"/signup", "/signup/confirm"} {
		if r := in.page("GET", path, nil); r.status != 404 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// TestEmailTarget sends an alert by mail, to a server that wants TLS from the first byte.
func TestEmailTarget(t *testing.T) {
	server := newMailServer(t, true)
	in := newNotifying(t, server.settings...)
	var w webhook
	in.want("POST", "/api/webhooks", `{"name":"mail","type":"email","to":["oncall@example.com"]}`, 201, &w)
	in.want("POST", "/api/webhooks", `{"name":"mail","type":"email","to":["oncall"]}`, 400, nil)
	in.want("POST", "/api/webhooks/"+w.ID+"/rotate", "", 409, nil)
	in.post("key-1", "export")
	var got received
	await(t, "a mail", 60*time.Second, func() error {
		for _, got = range server.got() {
			if strings.Contains(got.subject, "key-1") {
				return nil
			}
		}
		return fmt.Errorf("%+v; %+v", server.got(), in.deliveries(w))
	})
	if got.to != "oncall@example.com" || got.subject != "[critical] key-1: An export" || !strings.Contains(got.text, "Key: key-1") {
		t.Errorf("%+v", got)
	}
	await(t, "delivered", 30*time.Second, func() error {
		for _, d := range in.deliveries(w) {
			if d.State == "delivered" && strings.HasPrefix(got.id, "<"+d.ID+"@") {
				return nil
			}
		}
		return fmt.Errorf("%+v", in.deliveries(w))
	})
}

// TestSlackTarget has an endpoint get what Slack's incoming webhooks take.
func TestSlackTarget(t *testing.T) {
	bodies := make(chan string, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slack := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	})}
	served := make(chan error, 1)
	go func() { served <- slack.Serve(l) }()
	t.Cleanup(func() {
		_ = slack.Close()
		<-served
	})
	in := newNotifying(t)
	var w webhook
	in.want("POST", "/api/webhooks", fmt.Sprintf(`{"name":"slack","type":"slack","url":"http://%s/services/T/B/secret"}`, l.Addr()), 201, &w)
	if strings.Contains(*w.URL, "secret") || w.Secret != "" {
		t.Errorf("shows %+v, %s", w, *w.URL)
	}
	in.post("<key>", "export")
	for {
		select {
		case body := <-bodies:
			if strings.Contains(body, warmUp) {
				continue
			}
			if !strings.HasPrefix(body, `{"text":"*[critical] `) || !strings.Contains(body, `&lt;key`) && !strings.Contains(body, `\u0026lt;key\u0026gt;`) {
				t.Errorf("got %s", body)
			}
			return
		case <-time.After(60 * time.Second):
			t.Fatalf("nothing came: %+v", in.deliveries(w))
		}
	}
}
