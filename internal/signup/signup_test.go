package signup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"testing"
	"time"

	"go.uber.org/zap"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// desk is a Signup whose log is memory.
type desk struct {
	*Signup
	now     time.Time
	failing bool // API keys cannot be written
	keys    int64
	links   int64
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	secret := auth.NewSecret()
	d := &desk{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	book, table := NewBook(), auth.NewTable(secret)
	put := func(apply func(int64, []byte, []byte) error, next *int64, key string, r any) (int64, error) {
		value, err := json.Marshal(r)
		if err == nil {
			err = apply(*next, []byte(key), value)
		}
		*next++
		return *next - 1, err
	}
	d.Signup = New(Config{
		Secret: secret, Keys: table, PublicURL: "https://example.com", Log: zap.NewNop(), Now: func() time.Time { return d.now },
		Audit: func(context.Context, schema.AuditRecord) error { return nil },
		AppendSignup: func(_ context.Context, r schema.SignupRecord) (int64, error) {
			return put(book.Apply, &d.links, r.ID, r)
		},
		AppendKey: func(_ context.Context, r schema.APIKeyRecord) (int64, error) {
			if d.failing {
				return 0, errors.New("the log does not answer")
			}
			return put(table.Apply, &d.keys, r.ID, r)
		},
	}, book)
	return d
}

// token asks for a link and takes it out of the mail.
func (d *desk) token(t *testing.T, address string) string {
	t.Helper()
	if err := d.ask(address, "Acme"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(regexp.MustCompile(`https://\S+`).FindString((<-d.mails).Text))
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("token")
}

func TestLinkWorksOnceAndWithinAnHour(t *testing.T) {
	d := newDesk(t)
	token := d.token(t, "a@example.com")
	if _, key, err := d.confirm(t.Context(), token); err != nil || key == "" {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{0, time.Minute, 59 * time.Minute} {
		d.now = d.now.Add(later)
		if _, _, err := d.confirm(t.Context(), token); !errors.Is(err, errLink) {
			t.Errorf("used again %v later: %v", later, err)
		}
	}
	token = d.token(t, "b@example.com")
	d.now = d.now.Add(time.Hour + time.Second)
	if _, _, err := d.confirm(t.Context(), token); !errors.Is(err, errLink) {
		t.Errorf("after an hour: %v", err)
	}
	if _, _, err := d.confirm(t.Context(), token+"A"); !errors.Is(err, errLink) {
		t.Errorf("changed: %v", err)
	}
}

// TestLinkOutlivesAFailure has the log fail between the tenant and its API key.
func TestLinkOutlivesAFailure(t *testing.T) {
	d := newDesk(t)
	token := d.token(t, "a@example.com")
	d.failing = true
	first, _, err := d.confirm(t.Context(), token)
	if err == nil || errors.Is(err, errLink) {
		t.Fatal(err)
	}
	d.failing = false
	if _, _, err := d.confirm(t.Context(), token); !errors.Is(err, errLink) {
		t.Errorf("while the first use may still be under way: %v", err)
	}
	d.now = d.now.Add(abandoned)
	r, key, err := d.confirm(t.Context(), token)
	if err != nil || key == "" || r.Tenant != first.Tenant {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, _, err := d.confirm(t.Context(), token); !errors.Is(err, errLink) {
		t.Errorf("used again: %v", err)
	}
}

func TestLimits(t *testing.T) {
	d := newDesk(t)
	for i := range 5 {
		if err := d.ask("a@example.com", "Acme"); err != nil {
			t.Fatal(err)
		}
		if want := min(i+1, mailsPerAddress); len(d.mails) != want {
			t.Errorf("%d mails after %d requests", len(d.mails), i+1)
		}
	}
	for len(d.mails) > 0 {
		<-d.mails
	}
	d.now = d.now.Add(time.Hour)
	for range mailsPerAddress + tenantsPerAddress {
		token := d.token(t, "A@example.com") // the same address to most servers
		d.now = d.now.Add(time.Hour / 2)
		before := d.book.tenants(d.hash("a@example.com"))
		if _, _, err := d.confirm(t.Context(), token); (err == nil) != (before < tenantsPerAddress) {
			t.Errorf("after %d tenants: %v", before, err)
		}
	}
	if made := d.book.tenants(d.hash("a@example.com")); made != tenantsPerAddress {
		t.Errorf("an address has made %d tenants", made)
	}
	l := newLimiter(2)
	for i := range maxLimited + 1 {
		if ok := l.take(fmt.Sprint(i), d.now); ok != (i < maxLimited) {
			t.Fatalf("the %d-th is let through: %v", i, ok)
		}
	}
	if !l.take("new", d.now.Add(limitWindow)) {
		t.Error("an hour later nobody is let through")
	}
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48"} {
		if got := network(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s counts as %s", text, got)
		}
	}
}

func TestTenantName(t *testing.T) {
	for company, want := range map[string]string{
		"Acme Custody Ltd.": "acme-custody-ltd-", "  Ünïcode  ": "ncode-", "株式会社": "tenant-", "--": "tenant-", "a": "a-", "A very, very long name of a company that nobody can read at once": "a-very-very-long-name-of-a-company-that-",
	} {
		got := string(tenantName(company))
		if _, err := schema.ParseTenant(got); err != nil || got[:len(got)-10] != want {
			t.Errorf("%q: %s, %v", company, got, err)
		}
	}
}
