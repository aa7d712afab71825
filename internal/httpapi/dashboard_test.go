package httpapi

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestDashboardFiles(t *testing.T) {
	file := func(body string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(body)} }
	ts := start(t, func(cfg *Config) {
		cfg.Dashboard = fstest.MapFS{
			"index.html": file("the page"), "index.html.br": file("page.br"),
			"assets/a-1.js": file("script"), "assets/a-1.js.br": file("s.br"), "assets/a-1.js.gz": file("s.gz"),
			"assets/i-2.svg": file("<svg/>"),
		}
	}, nil)
	for _, c := range []struct{ path, accepts, body, encoding, mime string }{
		{"/", "", "the page", "", "text/html; charset=utf-8"},
		{"/", "gzip, br", "page.br", "br", "text/html; charset=utf-8"},
		{"/assets/a-1.js", "gzip, deflate, br", "s.br", "br", "text/javascript; charset=utf-8"},
		{"/assets/a-1.js", "gzip;q=0.8, br;q=0", "s.gz", "gzip", "text/javascript; charset=utf-8"},
		{"/assets/a-1.js", "br;q=0.0", "script", "", "text/javascript; charset=utf-8"},
		{"/assets/i-2.svg", "br", "<svg/>", "", "image/svg+xml"},
	} {
		r := ts.send("GET", c.path, "", "", "Accept-Encoding: "+c.accepts)
		if r.StatusCode != 200 || r.body != c.body || r.Header.Get("Content-Encoding") != c.encoding || r.Header.Get("Content-Type") != c.mime {
			t.Errorf("%s for %q: %d %q %v", c.path, c.accepts, r.StatusCode, r.body, r.Header)
		}
		want := "no-cache"
		if c.path != "/" {
			want = "public, max-age=31536000, immutable"
		}
		if got := r.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", c.path, got, want)
		}
		if csp := r.Header.Get("Content-Security-Policy"); c.path == "/" && (!strings.HasPrefix(csp, "default-src 'self';") || strings.Contains(csp, "unsafe")) {
			t.Errorf("the policy is %q", csp)
		}
		again := ts.send("GET", c.path, "", "", "Accept-Encoding: "+c.accepts, "If-None-Match: "+r.Header.Get("ETag"))
		if again.StatusCode != 304 || again.body != "" || r.Header.Get("ETag") == "" {
			t.Errorf("%s again: %d %q", c.path, again.StatusCode, again.body)
		}
	}
	for _, path := range []string{"/assets/a-1.js.br", "/assets/none.js", "/index.html", "/assets/", "/assets/..%2findex.html"} {
		ts.want(ts.get(path, ""), 404, CodeNotFound)
	}
	unbuilt := start(t, func(cfg *Config) { cfg.Dashboard = fstest.MapFS{} }, nil)
	if r := unbuilt.get("/", ""); r.StatusCode != 200 || !strings.Contains(r.body, "make build") {
		t.Errorf("where nobody has built it: %d %s", r.StatusCode, r.body)
	}
}
