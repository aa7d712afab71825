package query

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"keypulse/schema"
)

func TestDetailsFilters(t *testing.T) {
	a := newAPI(t)
	all := []string{
		`{"asset":"BTC","amount":250000,"to":{"country":"LI","tags":["a"]}}`,
		`{"asset":"b\u0054C","amount":2.5e5,"to":"LI"}`,
		`{"\u0061sset":"BTC","amount":"250000","ok":true}`,
		`{"wei":100000000000000000000000,"asset":"ETH","ok":"true","none":null}`,
		`{"big":18446744073709551615,"near":9007199254740993,"low":-9223372036854775808}`,
		`{"a.b":1,"quote":"it's \"\\ {x:String} ? $1","zero":0,"empty":""}`,
		`{}`,
	}
	for i, details := range all {
		a.insert(row{id: int64(i + 1), event: schema.Event{Details: []byte(details)}})
	}
	a.insert(row{id: 8, tenant: "other", event: schema.Event{Details: []byte(`{"asset":"BTC"}`)}})
	f := func(path, value string, want ...int64) {
		t.Helper()
		query := "details." + url.QueryEscape(path) + "=" + url.QueryEscape(value)
		equal(t, query, a.eventIDs("demo", "/api/events?"+query), want)
		matched := []int64{} // as the stream matches
		for i, details := range slices.Backward(all) {
			if (detail{strings.Split(path, "."), value}).matches([]byte(details)) {
				matched = append(matched, int64(i+1))
			}
		}
		equal(t, "stream: "+query, matched, append([]int64{}, want...))
	}
	f("asset", "BTC", 3, 1)
	f("asset", "bTC", 2)
	f("asset", "btc")
	f("amount", "250000", 3, 2, 1)
	f("amount", "250000.0", 2, 1)
	f("amount", "2.5e5", 2, 1)
	f("amount", "0x3d090")
	f("to", "LI", 2)
	f("to.country", "LI", 1)
	f("to.country.x", "LI")
	f("to.tags", `["a"]`)
	f("ok", "true", 4, 3)
	f("none", "null", 4)
	f("nothing", "null")
	f("wei", "1e23", 4)
	f("wei", "100000000000000000000000", 4)
	f("big", "18446744073709551615", 5)
	f("big", "18446744073709551614")
	f("near", "9007199254740993", 5)
	f("near", "9007199254740992")
	f("low", "-9223372036854775808", 5)
	f("zero", "-0.0", 6)
	f("empty", "", 6)
	f("quote", `it's "\ {x:String} ? $1`, 6)
	f("a.b", "1")
	equal(t, "two", a.eventIDs("demo", "/api/events?details.asset=BTC&details.to.country=LI&key_id=key-1"), []int64{1})
}

func TestDetailsFiltersRefuse(t *testing.T) {
	a := newAPI(t)
	f := func(query string, words ...string) {
		t.Helper()
		a.refuse("demo", http.MethodGet, "/api/events?"+query, "", http.StatusBadRequest, append(words, `"errors":[{"field":"details.`)...)
	}
	f("details.=1", "unknown")
	f("details.a..b=1", "empty name")
	f("details..=1", "empty name")
	f("details.a=1&details.a=2", "more than once")
	f("details."+strings.Repeat("a.", 32)+"a=1", "32 names")
	f("details.a="+strings.Repeat("x", 257), "256 bytes")
	var nine []string
	for i := range maxDetails + 1 {
		nine = append(nine, fmt.Sprintf("details.a%d=1", i))
	}
	f(strings.Join(nine, "&"), "at most 8")
}
