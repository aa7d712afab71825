// Package mail sends plain text by SMTP.
//
// The invariant it keeps: a password never leaves over a connection that is not encrypted, except to this machine.
//
//	err := mail.Send(ctx, cfg, mail.Message{ID: "a1", To: []string{"ops@example.com"}, Subject: "Hello", Text: "…"})
package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// The values of [Config.TLS].
const (
	StartTLS    = "starttls" // encrypt after the greeting, or give up
	ImplicitTLS = "tls"      // encrypt from the first byte
	NoTLS       = "none"
)

// Config says how to reach a mail server.
type Config struct {
	Address  string // host:port; "" for no mail
	TLS      string // default StartTLS
	CAFile   string // PEM bundle that signs the server's certificate; "" = the system's
	User     string // "" for no authentication
	Password string
	From     string // the sender's address, perhaps with a name
}

// Validate names the setting that is wrong.
func (c Config) Validate() error {
	if c.Address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return fmt.Errorf("smtp-address: %w", err)
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		return fmt.Errorf("mail-from %q: %w", c.From, err)
	}
	switch c.TLS {
	case "", StartTLS, ImplicitTLS:
	case NoTLS:
		if c.User != "" && !isLoopback(host) {
			return errors.New("smtp-tls is none: a password would be sent in the clear")
		}
	default:
		return fmt.Errorf("smtp-tls %q: must be starttls, tls or none", c.TLS)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Message is a mail.
type Message struct {
	ID      string // letters, digits, - and _; a repeated mail has the same, so that its reader's program shows it once
	To      []string
	Subject string
	Text    string
}

// timeout bounds all of a mail's sending.
const timeout = 20 * time.Second

// Send hands a mail to the server. When it returns nil, the server has taken it.
func Send(ctx context.Context, cfg Config, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return fmt.Errorf("reach mail server %s: %w", cfg.Address, err)
	}
	defer conn.Close()
	// The client sets deadlines of its own, of minutes, from the greeting on.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := send(conn, cfg, m); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("send mail: %w", err)
	}
	return nil
}

func send(conn net.Conn, cfg Config, m Message) error {
	client, err := greet(conn, cfg)
	if err != nil {
		return fmt.Errorf("greet mail server: %w", err) // its address is in no answer to a tenant
	}
	defer client.Close()
	if cfg.User != "" {
		if err := client.Auth(sasl.NewPlainClient("", cfg.User, cfg.Password)); err != nil {
			return fmt.Errorf("log in to mail server: %w", err)
		}
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return fmt.Errorf("parse sender: %w", err)
	}
	if err := client.SendMail(from.Address, m.To, bytes.NewReader(m.bytes(from, time.Now()))); err != nil {
		return err
	}
	_ = client.Quit() // the mail is the server's already
	return nil
}

// greet begins to speak over a connection, encrypted as it is wanted.
func greet(conn net.Conn, cfg Config) (*smtp.Client, error) {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, err
	}
	secure, err := cfg.tls(host)
	if err != nil {
		return nil, err
	}
	switch cfg.TLS {
	case NoTLS:
		return smtp.NewClient(conn), nil
	case ImplicitTLS:
		return smtp.NewClient(tls.Client(conn, secure)), nil
	}
	return smtp.NewClientStartTLS(conn, secure)
}

func (c Config) tls(host string) (*tls.Config, error) {
	secure := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return secure, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read smtp-ca-file: %w", err)
	}
	secure.RootCAs = x509.NewCertPool()
	if !secure.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read smtp-ca-file %s: no certificate in it", c.CAFile)
	}
	return secure, nil
}

// bytes is the mail as it is sent: one part of plain text.
func (m Message) bytes(from *mail.Address, at time.Time) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(from.Address, "@")
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n",
		from, strings.Join(m.To, ", "), mime.QEncoding.Encode("utf-8", oneLine(m.Subject)), at.Format(time.RFC1123Z), m.ID, domain)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nAuto-Submitted: auto-generated\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(m.Text, "\n", "\r\n"))) // to memory
	_ = w.Close()
	return b.Bytes()
}

// oneLine makes text fit for a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// ParseAddress returns the bare address of what a person has typed; only ASCII, without a name.
func ParseAddress(s string) (string, error) {
	const longest = 254
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s || len(s) > longest || !isASCII(s) || !strings.Contains(s[strings.LastIndexByte(s, '@')+1:], ".") {
		return "", fmt.Errorf("%q is no e-mail address", s)
	}
	return s, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Code is the server's answer in an error of [Send], 0 where it had none.
func Code(err error) int {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
