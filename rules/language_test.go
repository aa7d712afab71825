package rules

import (
	"testing"

	"keypulse/schema"
)

func TestConditions(t *testing.T) {
	yes := func(when string) {
		t.Helper()
		if !holds(t, when, event()) {
			t.Errorf("%s does not hold", when)
		}
	}
	no := func(when string) {
		t.Helper()
		if holds(t, when, event()) {
			t.Errorf("%s holds", when)
		}
	}

	// Fields.
	yes(`key_id == "key-1" and event_type == "export"`)
	yes(`severity == "warning" && source_ip == "10.1.2.3" && event_id == 'e-1'`)
	yes(`actor == ""`)
	no(`actor != ""`)
	yes(`created_at == "2026-04-05T12:34:00.123Z" && created_at < "2026-05"`)
	yes(`severity != "critical" && "warning" == severity`)
	yes(`len(details) == 18`)
	yes(`details.n == 7 && details["n"] == 7 && severity not in ["nominal", "critical"]`)

	// nil: a comparison with it is false, but for ==/!= nil and in.
	no(`details.missing > 10000`)
	no(`details.missing <= 10000`)
	yes(`not (details.missing > 10000)`)
	no(`details.missing == 1`)
	no(`details.missing != 1`)
	no(`details.missing == details.absent`)
	no(`details.missing != details.n`)
	yes(`details.missing == nil`)
	no(`details.missing != nil`)
	yes(`nil != details.n`)
	yes(`details.a.x.y.z == nil && details.null == nil && details.n.x == nil && key_id != nil`)
	yes(`details.missing + 1 == nil && -details.missing == nil && details.missing * 0 == nil`)
	yes(`details.missing in [1, nil]`)
	no(`details.missing in [1, 2]`)
	yes(`details.missing not in [1, 2]`)
	no(`details.missing in details.missing`)
	yes(`nil in details.tags`)
	yes(`(details.missing ?? 3) == 3 && (details.n ?? 3) == 7`)
	no(`details.missing`)
	no(`details.missing && true`)
	yes(`!details.missing`)
	no(`details.missing contains "a"`)
	no(`details.missing matches "a"`)
	yes(`(nil == nil) && !(nil != nil) && !(nil < 1) && !(1 > nil) && !(details.missing < details.missing)`)
	yes(`details.missing - 1 == nil && details.missing / 2 == nil && details.missing % 2 == nil && details.missing ** 2 == nil && +details.missing == nil`)
	yes(`nil in [nil] && nil not in [1] && details.missing not in details.absent && !("n" in details.missing)`)
	yes(`details.missing not contains "a" && details.missing not startsWith "a" && details.missing not endsWith "a" && details.missing not matches "a"`)
	yes(`(details.missing || true) && !(details.missing ? true : false) && (details.missing ?? details.absent ?? 3) == 3`)
	yes(`details.missing[0] == nil && details.missing[0:1] == nil && [details.missing] == [nil] && first_seen("1h", details.missing) == false`)
	no(`count("1h", details.missing > 1) > 0 || sum("1h", details.missing) != 0 || distinct("1h", details.missing) != 0`)
	yes(`len(details.missing) == nil && lower(details.missing) == nil && type(details.missing) == "nil"`)

	// Types that do not compare.
	no(`event_type == 1`)
	no(`event_type != 1`)
	no(`event_type > 1`)
	no(`details.ok > false`)
	no(`details.tags > 1`)
	no(`details.name < 5 || details.name >= 5`)
	yes(`details.ok == true && details.off != true`)
	no(`"a" == true || 1 == true || details.tags == "a" || details.a == details.tags || details.a != details.tags || details.name >= details.n`)
	yes(`details.n not contains "7" && !(details.n contains "7") && !(details.tags startsWith "a") && !(details.ok matches "true")`)
	no(`details.n && true`)

	// Numbers compare as numbers.
	yes(`details.one == 1 && details.exp == 1 && details.one == details.exp && details.one == 1.0`)
	yes(`details.amount_usd > 10000 && details.amount_usd == 12500.5 && details.n < 7.5`)
	yes(`details.big > details.big2 && details.big != details.big2`)
	yes(`details.huge > 1000000`)
	yes(`details.big2 == 9007199254740992.0 && details.big > 9007199254740992.0`)
	yes(`1 < details.n < 8`)
	no(`1 < details.n < 7`)
	yes(`details.one % 2 == 1 && details.exp % 2 == 1 && details.tags[details.one] == "b" && type(details.one) == type(details.exp)`)
	yes(`details.neg == -3 && details.neg < details.zero`)

	// Arithmetic: no failure, no silent overflow, no infinity.
	yes(`details.n / 2 == 3.5 && details.n % 4 == 3 && details.n ** 2 == 49 && 2 ^ 3 == 8`)
	yes(`details.n / details.zero == nil && details.n % details.zero == nil && 0 / 0 == nil && 1e308 * 10 == nil`)
	yes(`9223372036854775807 + 1 > 9223372036854775807`)
	yes(`9223372036854775807 * 2 > 9223372036854775807 && -9223372036854775807 - 2 < -9223372036854775807`)
	yes(`details.n + details.name == nil && 5.5 % 2 == nil && details.name + details.name == nil && -details.name == nil && details.ok + 1 == nil`)
	yes(`(details.n > 5 ? 1 : "x") == 1 && (if details.n > 9 { 1 } else { 2 }) == 2`)

	// Paths.
	yes(`details.a.b.c[1].d == 42 && details["a"]["b"].c[-1]?.d == 42 && details?.a?.b?.c[0] == 1`)
	yes(`details.tags[9] == nil && details.tags[-9] == nil && details.tags.x == nil && details.name.x == nil`)
	yes(`details["k.ey"] == 5 && details.name == "Bob \"B\" é"`)
	yes(`details[event_type] == nil && details["na" not in details ? "n" : "x"] == 7`)
	yes(`details.a == {"b": {"c": [1, {"d": 42.0}]}} && details.tags == ["a", "b", nil, 3]`)
	yes(`details.a != {"b": 1}`)

	// Membership and text.
	yes(`event_type in ["rotation", "export"] && event_type not in ["rotation"]`)
	yes(`event_type in ["1", "2", "3", "4", "5", "6", "7", "8", "export"]`)
	no(`details.n in ["1", "2", "3", "4", "5", "6", "7", "8", "export"]`)
	yes(`details.n in [7.0] && "a" in details.tags && 3 in details.tags && "b" in details.a && 1 in [details.one]`)
	yes(`key_id startsWith "key" && key_id endsWith "-1" && key_id contains "y-" && key_id matches "^key-[0-9]+$"`)
	yes(`{"export": 3, "rotation": 5}[event_type] == 3`)

	// Time and addresses.
	yes(`hour() == 12 && hour("UTC") == 12 && hour("Europe/Berlin") == 14 && weekday() == 0`)
	yes(`hour("Etc/UTC") == 12 && hour("EST") == 7 && hour("America/New_York") == 8 && hour("Asia/Kolkata") == 18 && hour("US/Pacific") == 5`)
	yes(`weekday("Pacific/Auckland") == 1 && hour("Pacific/Auckland") == 0`)
	yes(`cidr(source_ip, "10.0.0.0/8") && !cidr(source_ip, "10.2.0.0/16") && cidr(source_ip, "::ffff:10.0.0.0/104")`)
	no(`cidr(actor, "0.0.0.0/0") || cidr(details.n, "0.0.0.0/0") || cidr(key_id, "::/0") || cidr(details.missing, "::/0")`)

	// Builtins.
	yes(`len("é") == 1 && len(details.tags) == 4 && upper(event_type) == "EXPORT" && lower("É") == "é"`)
	yes(`abs(details.neg) == 3 && floor(3.7) == 3 && ceil(3.2) == 4 && round(3.5) == 4 && int("12") == 12 && float("1.5") == 1.5`)
	yes(`int("x") == nil && float("x") == nil && int(3.9) == 3 && string(7) == "7" && string(details.tags) == nil`)
	yes(`trim("  a ") == "a" && trim("xax", "x") == "a" && trimPrefix("key-1", "key-") == "1" && split("a,b", ",") == ["a", "b"]`)
	yes(`first(details.tags) == "a" && last(details.tags) == 3 && get(details, "n") == 7 && get(details.tags, 1) == "b"`)
	yes(`sort([3, 1, 2]) == [1, 2, 3] && sort([1, 2], "desc") == [2, 1] && reverse([1, 2]) == [2, 1] && uniq([1, 1.0, 2]) == [1, 2]`)
	yes(`take([1, 2], -1) == nil && take(details.name, 1) == nil && take([1, 2], 9) == [1, 2] && sort([2, 1], "down") == nil && sort([2, 1], "asc") == [1, 2]`)
	yes(`mean([]) == nil && median(details.none) == nil && mean(["a"]) == nil && sort(["b", 1]) == nil && sort([true, false]) == nil`)
	yes(`fromBase64("?") == nil && int(details.tags) == nil && abs(details.name) == nil && first(details.none) == nil && last(details.name) == nil && get(details, 1) == nil`)
	yes(`string(1e21) == "1e+21" && string(1000000.0) == "1000000" && string(true) == "true" && type(details.a) == "map" && bitand(1.5, 1) == nil`)
	yes(`trimSuffix("key-1", "-1") == "key" && splitAfter("a,b", ",") == ["a,", "b"] && split("a,b,c", ",", 2) == ["a", "b,c"] && values(details.a.b.c[1]) == [42]`)
	yes(`bitnand(6, 3) == 4 && bitshr(-8, 1) == -4 && bitushr(-1, 63) == 1 && bitshr(1, -1) == nil`)
	yes(`mean([1, 2, 3]) == 2 && median(1, 2, 9) == 2 && flatten([1, [2, [3]]]) == [1, 2, 3] && concat([1], [2]) == [1, 2]`)
	yes(`keys(details.a) == ["b"] && take([1, 2, 3], 2) == [1, 2] && [1, 2, 3][1:] == [2, 3] && "hello"[1:3] == "el"`)
	yes(`indexOf("hello", "l") == 2 && lastIndexOf("hello", "l") == 3 && hasPrefix("ab", "a") && fromBase64("YQ==") == "a"`)
	yes(`bitand(6, 3) == 2 && bitor(6, 3) == 7 && bitxor(6, 3) == 5 && bitshl(1, 4) == 16 && bitshl(1, 64) == nil && bitnot(0) == -1`)
	yes(`event_type | upper() == "EXPORT"`)

	// Aggregates without events.
	yes(`count("10m") == 0 && sum("1h", details.n) == 0 && rate("1s") == 0 && distinct("1d", actor) == 0`)
	yes(`avg("10m", details.n) == nil && since_last(true) == nil && not first_seen("30d", actor)`)
}

func TestAbsentDetails(t *testing.T) {
	e := &schema.Event{KeyID: "k", Type: "t", Severity: schema.Nominal}
	for _, when := range []string{`details == {}`, `details.a == nil`, `len(details) == 0`, `source_ip == ""`, `event_id == ""`} {
		if !holds(t, when, e) {
			t.Errorf("%s does not hold", when)
		}
	}
	e.Details = []byte(`{"a":`)
	if !holds(t, `details.a == nil && details.b == nil && keys(details) == []`, e) {
		t.Error("malformed details are not nil")
	}
}

// TestAggregatesSeeTheEvent looks at what an aggregate is given of an event: an absent source_ip or actor is nil as a value alone.
func TestAggregatesSeeTheEvent(t *testing.T) {
	f := func(aggregate string, matches bool, value string) {
		t.Helper()
		set := NewSet([]*Program{mustCompile(t, ruleWhen("r", aggregate+" != nil"))})
		e := event()
		e.SourceIP, e.EventID = "", ""
		values := NewScope(nil).Begin(set, e)
		if got := set.Matches(0, values); got != matches {
			t.Errorf("%s matches: %v", aggregate, got)
		}
		if got := set.ValueOf(0, values); string(got.AppendJSON(nil)) != value {
			t.Errorf("%s has the value %s, want %s", aggregate, got.AppendJSON(nil), value)
		}
	}
	f(`distinct("1h", source_ip)`, true, `null`)
	f(`first_seen("1h", actor, actor == "" && source_ip == "")`, true, `null`)
	f(`distinct("1h", lower(actor))`, true, `null`)
	f(`distinct("1h", actor ?? key_id)`, true, `"key-1"`)
	f(`distinct("1h", [actor, event_type])`, true, `[null,"export"]`)
	f(`distinct("1h", event_id)`, true, `""`)
	f(`sum("1h", details.missing, details.n > 8)`, false, `null`)
	f(`sum("1h", details.n * 2, details.missing > 8 || details.n in [7.0])`, true, `14`)
	f(`max("1h", details.name, not details.missing)`, true, `"Bob \"B\" é"`)
	f(`avg("1h", details.n / details.zero, cidr(source_ip, "0.0.0.0/0"))`, false, `null`)
	f(`since_last(hour() == 12)`, true, `null`)
}

func TestMessage(t *testing.T) {
	r := ruleWhen("r", `true`)
	r.Message = `{{key_id}} / {{ details.amount_usd }} / {{details.missing}} / {{details.name}} {{details.tags}} {{ {"a": {"b": 1}} }} {{count("10m", event_type == "export")}} }} {`
	got := mustCompile(t, r).Message(event(), Values{})
	want := `key-1 / 12500.5 /  / Bob "B" é ["a", "b", null, 3] {"a":{"b":1}} 0 }} {`
	if got != want {
		t.Errorf("message\n%s\nwant\n%s", got, want)
	}
	r.Message = `{{details.long}}é`
	e := event()
	long := make([]byte, 3999)
	for i := range long {
		long[i] = 'x'
	}
	e.Details = append(append([]byte(`{"long":"`), long...), `"}`...)
	if got := mustCompile(t, r).Message(e, Values{}); got != string(long) {
		t.Errorf("message has %d bytes, want %d: a character is not cut in two", len(got), len(long))
	}
}

func TestValuesJSON(t *testing.T) {
	r := ruleWhen("r", `count( '10m' , event_type=="export")>3 and sum("24h", details.amount, (actor != "") and (hour() < 6 or hour() > 20)) > 1`)
	r.Message = `{{count("600s", (event_type == "export"))}} {{first_seen("1d", source_ip)}} {{stddev("30d", details["x y"].z[0] ?? -1.50)}}`
	got := string(mustCompile(t, r).ValuesJSON(Values{}))
	want := `{"count(\"10m\", event_type == \"export\")":0,` +
		`"sum(\"24h\", details.amount, actor != \"\" and (hour() < 6 or hour() > 20))":0,` +
		`"first_seen(\"1d\", source_ip)":false,"stddev(\"30d\", details[\"x y\"].z[0] ?? (-1.5))":null}`
	if got != want {
		t.Errorf("values\n%s\nwant\n%s", got, want)
	}
}

func TestEqualAggregatesAreShared(t *testing.T) {
	shared := func(a, b string, want bool) {
		t.Helper()
		set := NewSet([]*Program{mustCompile(t, ruleWhen("a", a+" != nil")), mustCompile(t, ruleWhen("b", b+" != nil"))})
		if got := len(set.Aggregates()) == 1; got != want {
			t.Errorf("%s and %s shared: %v", a, b, got)
		}
	}
	shared(`count("24h")`, `count( '1d' )`, true)
	shared(`count("24h")`, `count("23h")`, false)
	shared(`count("1h", event_type == "a" and actor == "b")`, `count("1h", event_type == 'a' && (actor == "b"))`, true)
	shared(`count("1h", event_type == "a" && (actor == "b" || hour() > 1))`, `count("1h", event_type == "a" && actor == "b" || hour() > 1)`, false)
	shared(`sum("1h", details.a)`, `sum("1h", details["a"])`, true)
	shared(`sum("1h", details.a * 1.0)`, `sum("1h", details.a*1)`, true)
	shared(`sum("1h", details.a - (details.b - 1))`, `sum("1h", details.a - details.b - 1)`, false)
	shared(`sum("1h", details.a)`, `avg("1h", details.a)`, false)
	shared(`sum("1h", details.a, not details.b)`, `sum("1h", details?.a, !details.b)`, true)
}
