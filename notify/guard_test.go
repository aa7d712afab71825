package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"keypulse/internal/auth"
	"keypulse/internal/mail"
	"keypulse/schema"
)

// spellings are ways to write addresses that nobody outside may reach, with the address that a resolver may make of them.
var spellings = []struct{ host, addr string }{
	{"127.0.0.1", "127.0.0.1"},
	{"127.1", "127.0.0.1"},
	{"127.0.1", "127.0.0.1"},
	{"2130706433", "127.0.0.1"},
	{"0x7f000001", "127.0.0.1"},
	{"0x7f.1", "127.0.0.1"},
	{"0177.0.0.1", "127.0.0.1"},
	{"017700000001", "127.0.0.1"},
	{"127.0.0.1.", "127.0.0.1"},
	{"127.255.255.254", "127.255.255.254"},
	{"localhost", "127.0.0.1"},
	{"LOCALHOST.", "::1"},
	{"127.0.0.1.nip.io", "127.0.0.1"},
	{"①②⑦.0.0.1", "127.0.0.1"},
	{"127。0。0。1", "127.0.0.1"},
	{"0", "0.0.0.0"},
	{"0.0.0.0", "0.0.0.0"},
	{"0.1.2.3", "0.1.2.3"},
	{"10.0.0.1", "10.0.0.1"},
	{"10.255.255.255", "10.255.255.255"},
	{"0x0a000001", "10.0.0.1"},
	{"172.16.0.1", "172.16.0.1"},
	{"172.31.255.255", "172.31.255.255"},
	{"192.168.0.1", "192.168.0.1"},
	{"3232235521", "192.168.0.1"},
	{"100.64.0.1", "100.64.0.1"},
	{"100.127.255.255", "100.127.255.255"},
	{"169.254.169.254", "169.254.169.254"},
	{"2852039166", "169.254.169.254"},
	{"0xa9fea9fe", "169.254.169.254"},
	{"metadata.google.internal", "169.254.169.254"},
	{"100.100.100.200", "100.100.100.200"},
	{"192.0.0.192", "192.0.0.192"},
	{"192.0.2.1", "192.0.2.1"},
	{"198.18.0.1", "198.18.0.1"},
	{"198.51.100.1", "198.51.100.1"},
	{"203.0.113.1", "203.0.113.1"},
	{"192.88.99.1", "192.88.99.1"},
	{"224.0.0.1", "224.0.0.1"},
	{"239.255.255.250", "239.255.255.250"},
	{"240.0.0.1", "240.0.0.1"},
	{"255.255.255.255", "255.255.255.255"},
	{"[::]", "::"},
	{"[::1]", "::1"},
	{"[0:0:0:0:0:0:0:1]", "::1"},
	{"[::ffff:127.0.0.1]", "::ffff:127.0.0.1"},
	{"[::ffff:7f00:1]", "::ffff:127.0.0.1"},
	{"[::ffff:169.254.169.254]", "::ffff:169.254.169.254"},
	{"[::127.0.0.1]", "::127.0.0.1"},
	{"[::ffff:0:127.0.0.1]", "::ffff:0:127.0.0.1"},
	{"[64:ff9b::7f00:1]", "64:ff9b::7f00:1"},
	{"[64:ff9b::169.254.169.254]", "64:ff9b::a9fe:a9fe"},
	{"[64:ff9b:1::a00:1]", "64:ff9b:1::a00:1"},
	{"[2002:7f00:1::]", "2002:7f00:1::"},
	{"[2002:a9fe:a9fe::]", "2002:a9fe:a9fe::"},
	{"[2001:0:7f00:1::]", "2001:0:7f00:1::"},
	{"[2001:db8::1]", "2001:db8::1"},
	{"[fe80::1]", "fe80::1"},
	{"[fe80::1%25lo]", "fe80::1%lo"},
	{"[fc00::1]", "fc00::1"},
	{"[fd00:ec2::254]", "fd00:ec2::254"},
	{"[fec0::1]", "fec0::1"},
	{"[ff02::1]", "ff02::1"},
	{"[100::1]", "100::1"},
	{"[4000::1]", "4000::1"},
	{"[5f00::1]", "5f00::1"},
	{"[3fff::1]", "3fff::1"},
}

func TestGuardRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	touched := make(chan struct{}, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			touched <- struct{}{}
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := newSender(auth.NewSecret(), mail.Config{}, nil, time.Minute)
	defer s.close()
	for _, x := range spellings {
		addr := netip.MustParseAddr(x.addr)
		if err := (guard{}).check(addr); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("%s: the guard lets %s through", x.host, addr)
		}
		if err := (guard{}).control(false)("tcp4", netip.AddrPortFrom(addr, 443).String(), nil); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("%s: the dialer's hook lets %s through: %v", x.host, addr, err)
		}
		raw := "https://" + x.host + ":" + port + "/"
		_, literal := netip.ParseAddr(strings.Trim(strings.Replace(x.host, "%25", "%", 1), "[]"))
		if err := CheckURL(raw, nil); literal == nil && err == nil {
			t.Errorf("%s is taken as a webhook's URL", raw)
		}
		if literal != nil && !strings.EqualFold(x.host, "localhost") {
			continue // a name that only some resolvers know, and what they make of it is tried above
		}
		w := &schema.WebhookRecord{Type: schema.TargetWebhook, Sealed: Credentials{URL: raw, Secret: NewSecret()}.Seal(s.secret)}
		if res := s.attempt(t.Context(), w, &Delivery{ID: "msg_x", Data: []byte("{}")}); res.ok || res.try.Error != "dial: "+ErrForbiddenAddress.Error() {
			t.Errorf("%s: %+v", raw, res)
		}
	}
	if len(touched) > 0 {
		t.Errorf("%d connections were opened", len(touched))
	}
	if len(spellings) < 60 {
		t.Errorf("only %d spellings", len(spellings))
	}
}

func TestGuardLetsThrough(t *testing.T) {
	for _, addr := range []string{"1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.167.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"} {
		if err := (guard{}).check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	allowed, err := ParseNetworks("10.1.0.0/16, fd00:1::/64")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd00:1::1": true, "fd00:2::1": false} {
		if err := (guard{allowed}).check(netip.MustParseAddr(addr)); (err == nil) != want {
			t.Errorf("%s with %v: %v", addr, allowed, err)
		}
	}
	if _, err := ParseNetworks("10.1.0.0"); err == nil {
		t.Error("an address is taken as a network")
	}
}

// TestNamesAreCheckedWhenConnected has a name that resolves to a public address once, and to this machine from then on.
func TestNamesAreCheckedWhenConnected(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	dial := (guard{}).dial(false)
	for range 2 {
		if c, err := dial(context.Background(), "tcp", "localhost:"+port); err == nil || !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("connected to %v: %v", c, err)
		}
	}
}

// TestRedirectsAreNotFollowed answers with a redirect to an endpoint that must not be asked.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		r := httptest.NewServer(http.RedirectHandler(other.URL, status))
		s := newSender(auth.NewSecret(), mail.Config{}, prefixes("127.0.0.0/8"), time.Minute)
		w := &schema.WebhookRecord{Type: schema.TargetWebhook, Sealed: Credentials{URL: r.URL, Secret: NewSecret()}.Seal(s.secret)}
		if res := s.attempt(t.Context(), w, &Delivery{ID: "msg_x", Data: []byte("{}")}); res.ok || res.try.Status != status {
			t.Errorf("%d: %+v", status, res)
		}
		s.close()
		r.Close()
	}
}

// TestPlainHTTPNeedsANamedNetwork wants no http to the public Internet.
func TestPlainHTTPNeedsANamedNetwork(t *testing.T) {
	allowed := prefixes("10.0.0.0/8")
	for raw, want := range map[string]bool{
		"http://10.0.0.1/": true, "http://8.8.8.8/": false, "http://example.com/": true /* seen when it is connected */, "https://8.8.8.8/": true,
		"https://user:password@example.com/": false, "https://example.com/#x": false, "ftp://example.com/": false, "https:///x": false, "//example.com": false, "https://10.0.0.1/": true, "https://127.0.0.1/": false,
	} {
		if err := CheckURL(raw, allowed); (err == nil) != want {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if err := CheckURL("http://example.com/", nil); err == nil {
		t.Error("http is taken where no network is named")
	}
	if err := (guard{allowed}).control(true)("tcp4", "8.8.8.8:80", nil); err == nil {
		t.Error("http leaves for the Internet")
	}
	if got := ShownURL("https://example.com/a?token=1", false) + " " + ShownURL("https://hooks.slack.com/services/T/B/x", true); got != "https://example.com/a https://hooks.slack.com/…" {
		t.Error(got)
	}
}
