package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"keypulse/internal/mail"
	"keypulse/schema"
)

const (
	// tryTimeout bounds an attempt, from the look-up of the name to the answer's headers.
	tryTimeout = 20 * time.Second
	// drainBytes of an answer are read, so that its connection can be used again.
	drainBytes = 16 << 10
	sealFor    = "webhook"
)

// Credentials are what of a webhook must not lie open in the log.
type Credentials struct {
	URL      string `json:"url,omitempty"`
	Secret   string `json:"secret,omitempty"`   // signs
	Previous string `json:"previous,omitempty"` // signs, too, until the record's PreviousUntil
}

// Sealer keeps what it seals from who reads the log: it is the installation's secret. It is called from many goroutines.
type Sealer interface {
	Seal(purpose string, plain []byte) string
	Open(purpose, sealed string) ([]byte, error)
}

// Seal makes what a record carries of the credentials.
func (c Credentials) Seal(s Sealer) string { return s.Seal(sealFor, mustMarshal(c)) }

// OpenCredentials reads what [Credentials.Seal] made.
func OpenCredentials(s Sealer, sealed string) (c Credentials, err error) {
	plain, err := s.Open(sealFor, sealed)
	if err == nil {
		err = json.Unmarshal(plain, &c)
	}
	if err != nil {
		return c, fmt.Errorf("open a webhook's credentials: %w", err)
	}
	return c, nil
}

// sender makes attempts.
type sender struct {
	secret  Sealer
	mail    mail.Config
	delayed time.Duration // how late a message must be to say so
	https   *http.Client
	plain   *http.Client
}

func newSender(secret Sealer, m mail.Config, allowed []netip.Prefix, delayed time.Duration) *sender {
	g := guard{allowed}
	client := func(plain bool) *http.Client {
		return &http.Client{
			Transport: &http.Transport{ // no Proxy: it would connect in our place, and the guard sees only the proxy's address
				DialContext: g.dial(plain), ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true,
				MaxIdleConns: 512, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &sender{secret: secret, mail: m, delayed: delayed, https: client(false), plain: client(true)}
}

func (s *sender) close() {
	s.https.CloseIdleConnections()
	s.plain.CloseIdleConnections()
}

// attempt sends a message once.
func (s *sender) attempt(ctx context.Context, w *schema.WebhookRecord, d *Delivery) result {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	began := time.Now()
	delayed := began.Sub(d.Due.Time()) > s.delayed
	var res result
	var err error
	switch w.Type {
	case schema.TargetEmail:
		res, err = s.email(ctx, w, d, delayed)
	default:
		res, err = s.post(ctx, w, d, delayed, began)
	}
	if err != nil {
		res.try.Error = explain(err)
	}
	res.id, res.ok = d.ID, err == nil
	res.try.At, res.try.TookMS = schema.MillisOf(began), time.Since(began).Milliseconds()
	return res
}

func (s *sender) post(ctx context.Context, w *schema.WebhookRecord, d *Delivery, delayed bool, now time.Time) (res result, err error) {
	c, err := OpenCredentials(s.secret, w.Sealed)
	if err != nil {
		return res, err
	}
	body := d.body(delayed)
	if w.Type == schema.TargetSlack {
		body = slackBody(d, delayed)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return res, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "KeyPulse")
	if w.Type == schema.TargetWebhook {
		secrets := []string{c.Secret}
		if c.Previous != "" && schema.MillisOf(now) < w.PreviousUntil {
			secrets = append(secrets, c.Previous)
		}
		signature, err := sign(d.ID, now.Unix(), body, secrets...)
		if err != nil {
			return res, fmt.Errorf("sign: %w", err)
		}
		req.Header["webhook-id"] = []string{d.ID}
		req.Header["webhook-timestamp"] = []string{strconv.FormatInt(now.Unix(), 10)}
		req.Header["webhook-signature"] = []string{signature}
	}
	client := s.https
	if req.URL.Scheme == "http" {
		client = s.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return res, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes) // what the answer says beyond its status is of no interest
	res.try.Status = resp.StatusCode
	if resp.StatusCode/100 == 2 {
		return res, nil
	}
	res.gone = resp.StatusCode == http.StatusGone
	res.retryAfter = retryAfter(resp.Header, now)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		res.hold = true
	}
	return res, fmt.Errorf("answered %d", resp.StatusCode)
}

// slackBody is the message for an incoming webhook of Slack.
func slackBody(d *Delivery, delayed bool) []byte {
	title, lines := d.text(delayed)
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return mustMarshal(map[string]string{"text": "*" + escape.Replace(title) + "*\n" + escape.Replace(strings.Join(lines, "\n"))})
}

var errNoMail = errors.New("this installation has no mail server (--smtp-address)")

func (s *sender) email(ctx context.Context, w *schema.WebhookRecord, d *Delivery, delayed bool) (res result, err error) {
	if s.mail.Address == "" {
		return res, errNoMail
	}
	title, lines := d.text(delayed)
	err = mail.Send(ctx, s.mail, mail.Message{ID: d.ID, To: w.To, Subject: title, Text: strings.Join(lines, "\n") + "\n"})
	res.try.Status = mail.Code(err)
	return res, err
}

// explain says why an attempt failed, to whom the webhook belongs: without its URL, which may hold a password, and without the
// address that its name has here, which is nobody's business.
func explain(err error) string {
	const longest = 300
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var name *net.DNSError
	var op *net.OpError
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer within %v", tryTimeout)
	case errors.As(err, &name):
		text = "the name cannot be looked up"
	case errors.As(err, &op):
		text = op.Op + ": " + op.Err.Error()
	}
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}
