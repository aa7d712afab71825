// Package signup lets a company make its own tenant: a page takes an e-mail address, the mail has a link, and the link's
// page makes the tenant and shows its first API key. It is off unless an operator turns it on.
//
// The invariant it keeps: a link makes one tenant, within an hour of its mail, whichever node it comes to; and no answer, nor
// how long it takes, tells what is known of an address.
//
//	s := signup.New(signup.Config{Secret: secret, Keys: keys, Mail: mail, PublicURL: "https://keypulse.example.com", …})
//	s.Register(server.App())
//	err := s.Run(ctx) // sends the mails
package signup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/internal/admin"
	"keypulse/internal/auth"
	"keypulse/internal/mail"
	"keypulse/schema"
)

const (
	// linkAge is how long a link works.
	linkAge = time.Hour
	// Mails an hour: to one address, and for one network (a /24 of IPv4, a /48 of IPv6).
	mailsPerAddress = 3
	mailsPerNetwork = 20
	// tenantsPerAddress is how many tenants one address may make. A link beyond it works as little as one that was used.
	tenantsPerAddress = 3
	// maxMails wait to be sent; with more the page says to try again.
	maxMails = 256
	// changeTimeout bounds a confirmation, from the first record until this node has read the last one back.
	changeTimeout = 10 * time.Second
	// abandoned is how long after its use a link whose tenant has no API key may be used again: beyond changeTimeout, and what clocks
	// differ by.
	abandoned = 30 * time.Second
	sealFor   = "signup"
)

// Config is what a [Signup] works with.
type Config struct {
	Secret    *auth.Secret // seals links
	Keys      *auth.Table  // fed by the caller
	Mail      mail.Config
	PublicURL string         // where browsers find this page: https://keypulse.example.com
	Proxies   []netip.Prefix // whose X-Forwarded-For is believed
	// The appends write a record to its topic and return the offset it got.
	AppendSignup func(ctx context.Context, r schema.SignupRecord) (int64, error)
	AppendKey    func(ctx context.Context, r schema.APIKeyRecord) (int64, error)
	Audit        func(ctx context.Context, r schema.AuditRecord) error
	Log          *zap.Logger
	Now          func() time.Time // default time.Now
}

// Signup answers the requests under [Path].
type Signup struct {
	cfg       Config
	book      *Book
	addresses *limiter
	networks  *limiter
	mails     chan mail.Message // full: the page says to try again
	sent      *prometheus.CounterVec
}

// New makes a Signup. The caller feeds book from [schema.TopicSignups].
func New(cfg Config, book *Book) *Signup {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Signup{
		cfg: cfg, book: book, addresses: newLimiter(mailsPerAddress), networks: newLimiter(mailsPerNetwork), mails: make(chan mail.Message, maxMails),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keypulse_signup_mails_total", Help: "Mails of sign-ups, by what became of them."}, []string{"outcome"}),
	}
}

// Metrics are what the Signup counts.
func (s *Signup) Metrics() []prometheus.Collector { return []prometheus.Collector{s.sent} }

// Run sends the mails until ctx is done. A mail that waits then, or whose server refuses it, is lost: its reader asks again.
func (s *Signup) Run(ctx context.Context) error {
	const atOnce = 4
	g, ctx := errgroup.WithContext(ctx)
	for range atOnce {
		g.Go(func() error { return s.send(ctx) })
	}
	return g.Wait()
}

func (s *Signup) send(ctx context.Context) error {
	for {
		select {
		case m := <-s.mails:
			err := mail.Send(ctx, s.cfg.Mail, m)
			if err != nil {
				s.cfg.Log.Warn("cannot send the mail of a sign-up", zap.Error(err))
			}
			s.count(err == nil, "sent", "failed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Signup) count(ok bool, yes, no string) {
	if !ok {
		yes = no
	}
	s.sent.WithLabelValues(yes).Inc()
}

// link is what a mail's link says, sealed: nothing is stored until it is used.
type link struct {
	ID      string        `json:"id"`
	Address string        `json:"address"`
	Company string        `json:"company"`
	Until   schema.Millis `json:"until"`
}

var errBusy = errors.New("too many mails wait to be sent")

// ask sends a mail with a link, unless the address has got enough: nobody but its owner sees which.
func (s *Signup) ask(address, company string) error {
	now := s.cfg.Now()
	l := link{ID: rand.Text(), Address: address, Company: company, Until: schema.MillisOf(now.Add(linkAge))}
	plain, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a link: %w", err)
	}
	m := mail.Message{ID: "signup-" + strings.ToLower(l.ID), To: []string{address}, Subject: "Your KeyPulse account", Text: text(s.cfg.PublicURL + ConfirmPath + "?token=" + s.cfg.Secret.Seal(sealFor, plain))}
	if !s.addresses.take(s.hash(address), now) {
		s.count(true, "limited", "")
		return nil
	}
	select {
	case s.mails <- m:
		return nil
	default:
		return errBusy
	}
}

// text is the mail. It has nothing in it that who typed the address could have written.
func text(url string) string {
	return `Hello,

somebody, probably you, has given this address to KeyPulse. This link makes the account and shows its first API key:

` + url + `

It works once, within an hour. If it was not you, do nothing: nothing has been made.
`
}

// hash is how an address stands in the log.
func (s *Signup) hash(address string) string {
	return s.cfg.Secret.Digest("signup address " + strings.ToLower(address)).String()
}

var errLink = errors.New("the link was used, or is over an hour old, or is not whole")

// open reads a link that may still be used.
func (s *Signup) open(token string) (l link, err error) {
	plain, err := s.cfg.Secret.Open(sealFor, token)
	if err != nil || json.Unmarshal(plain, &l) != nil || s.cfg.Now().After(l.Until.Time()) {
		return l, errLink
	}
	r, used := s.book.used(l.ID)
	if used && (s.hasKey(r) || s.cfg.Now().Sub(r.At.Time()) < abandoned) || !used && s.book.tenants(s.hash(l.Address)) >= tenantsPerAddress {
		return l, errLink
	}
	return l, nil
}

// hasKey reports whether the tenant of a link that was used has its API key. Where it has not, a node died between the two, and
// the link goes on with the same tenant.
func (s *Signup) hasKey(r schema.SignupRecord) bool {
	for _, e := range s.cfg.Keys.All() {
		if e.Record.Tenant == r.Tenant {
			return true
		}
	}
	return false
}

// confirm uses a link: it makes the tenant and its API key.
func (s *Signup) confirm(ctx context.Context, token string) (r schema.SignupRecord, apiKey string, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	l, err := s.open(token)
	if err != nil {
		return r, "", err
	}
	if r, err = s.claim(ctx, l); err != nil {
		return r, "", err
	}
	apiKey, err = s.makeKey(ctx, r)
	return r, apiKey, err
}

// claim makes the link this request's: of two the first in the log has it.
func (s *Signup) claim(ctx context.Context, l link) (schema.SignupRecord, error) {
	last, again := s.book.used(l.ID)
	mine := schema.SignupRecord{
		ID: l.ID, Version: last.Version + 1, Claim: rand.Text(), Tenant: tenantName(l.Company), Address: s.hash(l.Address), Company: l.Company, At: schema.MillisOf(s.cfg.Now()),
	}
	if again {
		mine.Tenant = last.Tenant
	}
	offset, err := s.cfg.AppendSignup(ctx, mine)
	if err == nil {
		err = s.book.wait(ctx, offset+1)
	}
	if err != nil {
		return mine, fmt.Errorf("claim a link: %w", err)
	}
	if r, _ := s.book.used(l.ID); r.Claim != mine.Claim {
		return mine, errLink
	}
	return mine, nil
}

// makeKey makes the tenant's first API key. As for every other, the audit has a line before and one after.
func (s *Signup) makeKey(ctx context.Context, r schema.SignupRecord) (apiKey string, err error) {
	now := s.cfg.Now()
	rec, apiKey := admin.NewKey(s.cfg.Secret, schema.APIKeyRecord{Tenant: r.Tenant, Name: "first key", RateLimit: auth.DefaultRateLimit, Scopes: auth.Scopes[:]}, now)
	line := schema.AuditAPIKey(schema.AuditCreate, rec, schema.MillisOf(now))
	line.By, line.Outcome = "signup", schema.AuditBegun
	if err := s.cfg.Audit(ctx, line); err != nil {
		return "", fmt.Errorf("audit a sign-up: %w", err)
	}
	offset, err := s.cfg.AppendKey(ctx, rec)
	if err == nil {
		err = s.cfg.Keys.Wait(ctx, offset+1)
	}
	line.Outcome = schema.AuditDone
	if err != nil {
		line.Outcome = schema.AuditUnknown
	}
	if auditErr := s.cfg.Audit(ctx, line); auditErr != nil {
		s.cfg.Log.Error("the audit does not have the outcome of a sign-up", zap.String("api_key", rec.ID), zap.Error(auditErr))
	}
	if err != nil {
		return "", fmt.Errorf("make the first API key: %w", err)
	}
	return apiKey, nil
}

// tenantName is a name that nobody has: what people recognise of the company's, and 50 random bits.
func tenantName(company string) schema.Tenant {
	const longest = 40
	var b strings.Builder
	for _, r := range strings.ToLower(company) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case unicode.IsSpace(r) || r == '-' || r == '.':
			if t := b.String(); t != "" && !strings.HasSuffix(t, "-") {
				b.WriteByte('-')
			}
		}
		if b.Len() >= longest {
			break
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" {
		name = "tenant"
	}
	return schema.Tenant(name + "-" + strings.ToLower(rand.Text()[:10]))
}
