package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// parse runs Params on a query string.
func parse(query string) (map[string]string, error) {
	app := fiber.New()
	fctx := new(fasthttp.RequestCtx)
	fctx.Request.SetRequestURI("/?" + query)
	c := app.AcquireCtx(fctx)
	defer app.ReleaseCtx(c)
	return Params(c, "key_id", "severity", "limit", "details.")
}

func TestParams(t *testing.T) {
	f := func(query, want string) {
		t.Helper()
		got, err := parse(query)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v; want %s", query, got, err, want)
		}
	}
	f("", "map[]")
	f("limit=5", "map[limit:5]")
	f("&limit=5&&key_id=a%20b+c%2bd&", "map[key_id:a b c+d limit:5]")
	f("key_id=a=b", "map[key_id:a=b]")
	f("key%5fid=%C3%A9", "map[key_id:é]")
	f("limit", "map[limit:]")
	f("details.a.b=1&details.c=2", "map[details.a.b:1 details.c:2]")
}

func TestParamsRefuses(t *testing.T) {
	f := func(query string, want ...string) {
		t.Helper()
		_, err := parse(query)
		var e *Error
		if !errors.As(err, &e) || e.Status != 400 || e.Code != CodeInvalidParameter {
			t.Fatalf("%q: %v", query, err)
		}
		var got []string
		for _, field := range e.Fields {
			got = append(got, field.Field+": "+field.Message)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q:\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f("limti=5", `limti: unknown parameter, did you mean "limit"?`)
	f("LIMIT=5", `LIMIT: unknown parameter, did you mean "limit"?`)
	f("offset=5&x=1", "offset: unknown parameter", "x: unknown parameter")
	f("=5", ": unknown parameter")
	f("details.=5", `details.: unknown parameter`)
	f("limit=1&limit=1", "limit: is given more than once")
	f("details.a=1&details.a=2", "details.a: is given more than once")
	f("limit=%", "limit: its value is not valid percent-encoded UTF-8")
	f("limit=%4", "limit: its value is not valid percent-encoded UTF-8")
	f("limit=%zz", "limit: its value is not valid percent-encoded UTF-8")
	f("key_id=%ff", "key_id: its value is not valid percent-encoded UTF-8")
	f("%ff=1", "%ff: its name is not valid percent-encoded UTF-8")
	f(strings.Repeat("x", 100)+"=1", strings.Repeat("x", 64)+"…: unknown parameter")
}

func FuzzParams(f *testing.F) {
	f.Add("limit=5&key_id=%C3%A9+")
	f.Add("details.a=%zz&&=")
	f.Fuzz(func(t *testing.T, query string) {
		got, err := parse(query)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != 400 {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		var fctx fasthttp.RequestCtx
		fctx.Request.SetRequestURI("/?" + query)
		want, err := url.ParseQuery(string(fctx.URI().QueryString()))
		if err != nil && !strings.Contains(err.Error(), "semicolon") {
			t.Fatalf("%q: taken, but net/url says %v", query, err)
		}
		for name, value := range got {
			if !utf8.ValidString(value) || err == nil && want.Get(name) != value {
				t.Errorf("%q: %s is %q, net/url says %q", query, name, value, want.Get(name))
			}
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"key_id", "event_type", "severity", "source_ip", "actor", "details", "event_id"}
	f := func(name, want string) {
		t.Helper()
		if got, ok := Nearest(name, known); got != want || ok != (want != "") {
			t.Errorf("Nearest(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	f("severitty", "severity")
	f("SEVERITY", "severity")
	f("sevreity", "severity")
	f("keyid", "key_id")
	f("keyId", "key_id")
	f("eventtype", "event_type")
	f("actro", "actor")
	f("sourceip", "source_ip")
	f("event_idd", "event_id")
	f("ip", "")
	f("", "")
	f("timestamp", "")
	f(strings.Repeat("severity", 100), "")
}
