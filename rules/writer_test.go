package rules

import "math/rand/v2"

// writer writes random expressions of a type that mean the same to expr and to us: no nil where it would fail, no values of
// two types compared, no integer beyond 64 bits, no division by zero.
type writer struct{ r *rand.Rand }

func (w writer) pick(options ...func() string) string { return options[w.r.IntN(len(options))]() }

func (w writer) one(list ...string) string { return list[w.r.IntN(len(list))] }

func (w writer) boolean(depth int) string {
	if depth == 0 {
		return w.one("true", "false", "details.yes", "details.no", "a_seen", "(details.null == nil)", "(details.n != nil)", "(details.o.none?.x == nil)")
	}
	d := depth - 1
	return w.pick(
		func() string { return w.number(d) + w.one(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.number(d) },
		func() string { return w.text(d) + w.one(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.text(d) },
		func() string { return "(1 < " + w.number(d) + w.one(" < ", " <= ", " > ", " >= ") + "2.5)" },
		func() string { return w.list(d) + w.one(" == ", " != ") + w.list(d) },
		func() string {
			return w.text(d) + w.one(" contains ", " startsWith ", " endsWith ", " not contains ", " not startsWith ", " not endsWith ") + w.text(d)
		},
		func() string {
			return w.text(d) + w.one(" matches ", " not matches ") + w.one(`"^a"`, `"[0-9]+"`, `"(b|c)$"`, `"é"`)
		},
		func() string {
			return w.text(d) + w.one(" in ", " not in ") + "[" + w.text(d) + `, "abc", ` + w.text(d) + "]"
		},
		func() string { return w.number(d) + w.one(" in ", " not in ") + "[1, 2.5, " + w.number(d) + "]" },
		func() string { return w.number(d) + w.one(" in ", " not in ") + w.list(d) },
		func() string {
			return w.text(d) + w.one(" in ", " not in ") + w.one("details.list", "details.o", `{"abc": 1, bob: 2}`, "keys(details.o)")
		},
		func() string {
			return "((" + w.boolean(d) + w.one(") && (", ") || (", ") and (", ") or (", ") == (", ") != (") + w.boolean(d) + "))"
		},
		func() string { return w.one("!", "not ") + "(" + w.boolean(d) + ")" },
		func() string { return w.choice(w.boolean(d), w.boolean(d), w.boolean(d)) },
		func() string {
			return "(" + w.one("details.yes", "details.null", "details.none") + " ?? (" + w.boolean(d) + "))"
		},
		func() string { return w.one("hasPrefix", "hasSuffix") + "(" + w.text(d) + ", " + w.text(d) + ")" },
		func() string {
			return "cidr(" + w.one("source_ip", w.text(d)) + `, ` + w.one(`"10.0.0.0/8"`, `"10.1.2.3/32"`, `"::/0"`) + ")"
		},
	)
}

// choice is one of two, written in one of two ways.
func (w writer) choice(condition, yes, no string) string {
	if w.r.IntN(2) == 0 {
		return "(if " + condition + " { " + yes + " } else { " + no + " })"
	}
	return "(" + condition + " ? " + yes + " : " + no + ")"
}

func (w writer) number(depth int) string {
	if depth == 0 {
		return w.one("0", "1", "-3", "7", "2.5", "1e3", "0x1F", "1_000", ".5", "details.n", "details.f", `details["o"].k`, "details?.o.k", "details.nums[1]", "details.nums[-1]", "details.one",
			"hour()", "weekday()", "a_count", "a_rate", "a_sum", "a_avg", "a_min", "a_max", "a_stddev", "a_distinct", "a_since")
	}
	d := depth - 1
	whole := func() string { return w.one("7", "details.n", "-9", "0", "a_count", `indexOf(actor, "b")`) }
	return w.pick(
		func() string { return "(" + w.number(d) + w.one(" + ", " - ", " * ") + w.number(d) + ")" },
		func() string { return "(" + w.number(d) + " / " + w.one("2", "2.5", "details.n") + ")" },
		func() string { return "(" + whole() + " % " + w.one("2", "details.n", "-4") + ")" },
		func() string { return "(" + w.number(d) + w.one(" ** ", " ^ ") + w.one("2", "0", "1") + ")" },
		func() string { return w.one("-", "+") + "(" + w.number(d) + ")" },
		func() string { return w.one("abs", "floor", "ceil", "round", "float") + "(" + w.number(d) + ")" },
		func() string {
			return w.one("bitand", "bitor", "bitxor", "bitnand") + "(" + whole() + ", " + whole() + ")"
		},
		func() string {
			return w.one("bitshl", "bitshr", "bitushr") + "(" + whole() + ", " + w.one("0", "1", "7", "details.n") + ")"
		},
		func() string { return "bitnot(" + whole() + ")" },
		func() string {
			return w.one(`int("12")`, `int("-7")`, "int(2.9)", "int(-2.9)", "int(details.f)", `float("1.5e2")`, `float("-7")`)
		},
		func() string {
			return w.one("hour", "weekday") + `(` + w.one(`"UTC"`, `"Europe/Berlin"`, `"Pacific/Auckland"`, `"America/New_York"`) + ")"
		},
		func() string { return w.one("indexOf", "lastIndexOf") + "(" + w.text(d) + ", " + w.text(d) + ")" },
		func() string {
			return "len(" + w.one("details.list", "details.o", w.text(d), w.list(d), `split(actor, "b")`) + ")"
		},
		func() string { return w.choice(w.boolean(d), w.number(d), w.number(d)) },
		func() string {
			return "(" + w.one("details.n", "details.null", "details.none", "details.o?.none") + " ?? (" + w.number(d) + "))"
		},
		func() string {
			return w.one("mean", "median") + "(" + w.one("["+w.number(d)+", 2]", w.number(d)+", 2, "+w.number(d), "details.nums") + ")"
		},
		func() string { return w.one("first", "last") + "(" + w.list(d) + ")" },
		func() string {
			return "get(" + w.one(`details.o, "k"`, "details.nums, 1", "details.nums, -1", `{"k": 2}, "k"`) + ")"
		},
		func() string { return `{"a": ` + w.number(d) + `, "b": 1}["a"]` },
		func() string { return "[" + w.number(d) + ", " + w.number(d) + "][" + w.one("0", "1", "-1") + "]" },
		func() string { return w.one("values({x: "+w.number(d)+"})[0]", "len(keys(details.o))") },
	)
}

func (w writer) text(depth int) string {
	if depth == 0 {
		return w.one(`""`, `"abc"`, `'é "x"'`, "`a\\b`", `"\u00e9\n"`, "key_id", "event_type", "actor", "details.s", "details.list[0]", "details.list[-1]", `details["u"]`, "severity",
			"source_ip", "event_id", "created_at")
	}
	d := depth - 1
	return w.pick(
		func() string {
			return w.one("lower", "upper", "trim", "trimPrefix", "trimSuffix") + "(" + w.text(d) + ")"
		},
		func() string {
			return w.one("trim", "trimPrefix", "trimSuffix") + "(" + w.text(d) + ", " + w.text(d) + ")"
		},
		func() string { return w.choice(w.boolean(d), w.text(d), w.text(d)) },
		func() string {
			return "(" + w.one("details.s", "details.null", "details.none") + " ?? (" + w.text(d) + "))"
		},
		func() string { return "(" + w.text(d) + " | lower())" },
		func() string {
			return w.one("split", "splitAfter") + "(" + w.text(d) + `, ` + w.one(`"b"`, `"b", 1`, `"b", 2`) + `)[0]`
		},
		func() string {
			return w.one("event_type", `"abc"`, "severity") + "[" + w.one(":0", ":1", ":-1", "1:", "-2:", "1:2", ":9", "2:1", "9:") + "]"
		},
		func() string {
			return w.one("first", "last") + w.one("(sort(details.list))", `(sort(details.list, "desc"))`, "(reverse(details.list))", "(details.list[1:])")
		},
		func() string {
			return w.one(`fromBase64("YmI=")`, "keys({abc: 1})[0]", "string(7)", "string(2.5)", "string(true)", "string(details.s)")
		},
		func() string {
			return "type(" + w.one(w.text(d), w.boolean(d), "7", "2.5", "details.null", "details.o", w.list(d)) + ")"
		},
		func() string { return w.text(d) + w.one(" // it ends here\n", " /* as it is */") },
	)
}

// list writes a list of numbers with at least one in it.
func (w writer) list(depth int) string {
	if depth == 0 {
		return w.one("details.nums", "[1, 2.25]", "[2.5]", "[7, 1, 7]")
	}
	d := depth - 1
	return w.pick(
		func() string { return "[" + w.number(d) + ", " + w.number(d) + "]" },
		func() string { return w.one("reverse", "uniq", "sort", "flatten") + "(" + w.list(d) + ")" },
		func() string { return "sort(" + w.list(d) + `, ` + w.one(`"asc"`, `"desc"`) + ")" },
		func() string { return "concat(" + w.list(d) + ", " + w.list(d) + ")" },
		func() string { return "flatten([" + w.list(d) + ", [" + w.list(d) + "]])" },
		func() string { return "take(" + w.list(d) + ", " + w.one("1", "2", "9") + ")" },
		func() string { return "(" + w.list(d) + ")[" + w.one(":1", "-1:", "0:2", ":9") + "]" },
	)
}
