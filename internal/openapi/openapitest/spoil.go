package openapitest

import (
	"maps"
	"slices"
	"strings"
)

// odd are values that schemas forget.
var odd = []any{
	nil, true, 0, -1, 1, 1.5, 1e300, 9007199254740993, "", " ", "\x00", "a\nb", "\u202e", "é", strings.Repeat("x", 257), strings.Repeat("日", 300), strings.Repeat("y", 20_000),
	"+5", "007", "0x10", "1e3", "NaN", "null", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "::1%eth0", "10.0.0.0/8", "300.1.1.1", "0s", "401d", "1h1d",
	[]any{},
	[]any{nil},
	object{},
	object{"": nil},
	object{"$ref": "x"},
	"'; DROP TABLE events; --", "../../etc/passwd", "{{key_id}}", "{{", "true &&", "count(\"10m\") > 1", strings.Repeat("(", 5000),
}

// mutate changes something in a value: a member, an element, or the whole.
func (g *generator) mutate(v any) any {
	switch v := v.(type) {
	case object:
		names := slices.Sorted(maps.Keys(v))
		if len(names) == 0 || g.IntN(6) == 0 {
			v[pick(g, []string{"zz", "severty", "Name", "id", "tenant", "created_at", "", "a\x00b"})] = pick(g, odd)
			return v
		}
		name := pick(g, names)
		switch g.IntN(5) {
		case 0:
			delete(v, name)
		case 1:
			v[name] = pick(g, odd)
		case 2:
			v[name+pick(g, []string{"s", "_", " "})] = v[name]
			delete(v, name)
		default:
			v[name] = g.mutate(v[name])
		}
		return v
	case []any:
		switch {
		case len(v) > 0 && g.IntN(2) == 0:
			i := g.IntN(len(v))
			v[i] = g.mutate(v[i])
			return v
		case len(v) > 0 && g.IntN(2) == 0:
			for len(v) < 1001 {
				v = append(v, v[0])
			}
			return v[:101+900*g.IntN(2)]
		}
		return append(v, pick(g, odd))
	}
	return pick(g, odd)
}

// spoil makes something of a request wrong, and returns its query.
func (f *Fuzzer) spoil(r *Request, query []string) []string {
	g := &f.gen
	if r.Kind == NearlyGood {
		switch g.IntN(5) {
		case 0:
			return append(query, pick(g, []string{"zz=1", "limit=0", "limit=501", "limit=+5", "limit=05", "limit=", "cursor=x", "cursor=", "since=now", "severity=bad", "min_score=101", "details.=1", "details.a=", "key_id=", "source_ip=1", "step=61", "q=%00", "activity=yes"}))
		case 1:
			if len(query) > 0 {
				return append(query, pick(g, query))
			}
		case 2:
			r.Header.Set("Content-Type", pick(g, []string{"text/plain", "application/json; charset=latin1", "application/xml", "", "application/x-ndjson", "multipart/form-data"}))
		case 3:
			before, after, _ := strings.Cut(r.Target, "/api/")
			r.Target = before + "/api/" + strings.Replace(after, "/", pick(g, []string{"//", "/x/", "/..%2f", "/%00", "/+5/", "/007/", "/9999999999999999999/", "/.//"}), 1)
		case 4:
			r.Method = pick(g, []string{"HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST", "GET"})
		}
		return query
	}
	switch g.IntN(9) {
	case 0:
		return append(query, pick(g, []string{"%", "%zz=1", "a=%ff", "=", "&&&", "a=%u0041", "\xff=1", strings.Repeat("a=1&", 500), "key_id=" + strings.Repeat("k", 20_000)}))
	case 1:
		if len(r.Body) > 0 {
			r.Body = r.Body[:g.IntN(len(r.Body))]
		}
	case 2:
		if len(r.Body) > 0 {
			i := g.IntN(len(r.Body))
			r.Body = slices.Insert(r.Body, i, []byte(pick(g, []string{"\xff", "\x00", "\\ud800", "\\u0000", `"`, "{", "]", ",", "\xef\xbb\xbf", "1e999", "/*"}))...)
		}
	case 3: // a member twice
		if i := slices.Index(r.Body, ','); i > 0 {
			r.Body = slices.Concat(r.Body[:i], []byte(","), r.Body[min(1, i):i], r.Body[i:])
		}
	case 4:
		r.Body = []byte(pick(g, []string{"null", "[]", "0", `"x"`, "", " ", "{}{}", "[[", strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 10_000), `{"events":null}`, "{\"a\":\"" + strings.Repeat("z", 100_000) + "\"}"}))
	case 5:
		r.Header.Set("Content-Encoding", pick(g, []string{"gzip", "zstd", "br", "deflate", "gzip, gzip", "identity", "compress", "x"}))
		if g.IntN(2) == 0 {
			r.Body = compressed(r.Body)
		}
	case 6:
		r.Header.Set(pick(g, []string{"X-Request-Id", "Idempotency-Key", "Prefer", "Last-Event-ID", "Accept-Encoding", "Cookie", "Origin", "Range", "Expect", "If-None-Match", "X-Forwarded-For"}),
			pick(g, []string{"\x80\xff", "é", strings.Repeat("h", 300), "wait=99999999999999999999", "wait=-1", "respond-async, wait=0", "100-continue", "bytes=0-", "keypulse_session=x", "null", "*", "%00", "AQEIAAAAAAAAHh4AAAAAAAAAAJJk2Jg"}))
	case 7:
		r.Method = pick(g, []string{"TRACE", "CONNECT", "BREW", "get", "PROPFIND"})
	case 8:
		r.Target = pick(g, []string{"/api", "/api/", "/api/events/", "/API/EVENTS", "/api/%65vents", "/api/events/1/2", "*", "/../api/events", "/api/events/" + strings.Repeat("1", 5000), "/api/keys/%ff", "/api/keys/%00", "/api/keys/a%2Fb", "/api/rules/é", "/metrics/", "/debug/pprof"})
	}
	return query
}
