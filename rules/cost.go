package rules

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/ast"
)

// MaxAggregateBytes bounds the memory of one aggregate of one key: see [Aggregate.WorstBytes] for each call.
const MaxAggregateBytes = 32 << 10

// WorstBytes is the most memory that the aggregate takes for one key. Package window keeps it.
func (a *Aggregate) WorstBytes() int {
	switch a.Call {
	case SinceLast:
		return 64
	case Count, Rate:
		return 9 << 10 // a thousand times and 256 slices
	case FirstSeen:
		return 25 << 10 // a thousand hashes with their times, and an index
	case Distinct:
		return 31 << 10 // a thousand hashes with their times, and a sketch
	default:
		return 29 << 10 // a thousand numbers with their times, and 256 slices
	}
}

// MaxTime bounds what a rule may take for one event, in the worst case: its condition, the where and value of its
// aggregates, and its message, over the largest event that is accepted and with no operand skipped. It leaves room for any one or
// two functions over the whole of details, and for as many as one likes over what is shorter.
const MaxTime = 2 * time.Millisecond

// The model. While a rule is compiled, each operation adds its worst time to the rule's meter: a time for the call and one
// for each byte that it may have to read. How many bytes those may be follows from the limits of an event and from what
// the operations inside give. The figures are those of BenchmarkCost, which measures every operation over the inputs
// that are worst for it, rounded up, so that what is accepted takes about a millisecond in truth. They are nanoseconds of a core of
// 2024, to compare rules by; a rule that is accepted once is accepted on every machine.

// The sizes of an event's parts, in bytes; what accepts events holds them.
const (
	maxField   = 256      // but for event_id, which has 128 characters
	maxDetails = 16 << 10 // as they were sent
)

// size is the most bytes that a value can have: as a text, as that text between the quotes of JSON, and as the JSON of a list or an
// object. 0: it never is one.
type size struct{ text, quoted, json float64 }

// scalar is the size of a number, a boolean or nil.
var scalar = size{text: 32, quoted: 32}

func larger(a, b size) size {
	return size{max(a.text, b.text), max(a.quoted, b.quoted), max(a.json, b.json)}
}

// written is the size of a value as JSON, in a list.
func (s size) written() float64 { return max(s.quoted+2, scalar.text, s.json) }

// quoting is how many bytes a byte of a text may become in JSON: \u0000.
const quoting = 6

// meter adds up what a rule takes.
type meter struct {
	total  float64  // ns
	costly struct { // what takes the most
		ns   float64
		what string
		c    *compiler
		at   int // of the expression, in characters
	}
}

func (m *meter) time() time.Duration { return time.Duration(m.total) }

// spend adds the worst time of an operation, apart from that of its operands.
func (c *compiler) spend(n ast.Node, what string, ns float64) {
	c.meter.total += ns
	if ns > c.meter.costly.ns {
		most := &c.meter.costly
		most.ns, most.what, most.c, most.at = ns, what, c, n.Location().From
	}
}

// tooCostly is the error of a rule that takes too long; it stands at the operation that takes the most.
func (m *meter) tooCostly() (Error, bool) {
	if m.total <= float64(MaxTime) {
		return Error{}, false
	}
	most := &m.costly
	return most.c.errorAt(most.at, fmt.Sprintf("the rule may take %v for one event, at most %v is allowed: %s takes the most, %v; "+
		"shorten what it reads, as details.note[:256] does, or leave something out", rough(m.total), MaxTime, most.what, rough(most.ns))), true
}

// rough is a time with two or three digits.
func rough(ns float64) time.Duration {
	d := time.Duration(min(ns, 1e15))
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// The times of operations: ns for each byte.
const (
	nsCompare     = 0.3 // of two texts
	nsSearch      = 3   // one text in another
	nsWalk        = 2   // over a list or an object, to a member
	nsPlain       = 2.5 // reading a text with escapes
	nsQuote       = 5   // writing one
	nsNumbers     = 25  // reading a list of numbers
	nsCanonical   = 25  // writing a list or an object so that it can be compared
	nsHash        = 2
	nsPattern     = 8  // and for each instruction of the pattern, when a text is short enough to be backtracked
	nsLongPattern = 25 // when it is not
	nsCopy        = 0.5
)

// backtracked is how many bytes times instructions package regexp backtracks over.
const backtracked = 256 << 10

// The times of operations: ns for each call.
const (
	nsOperator  = 20
	nsNumber    = 1000 // reading a number of details
	nsTime      = 500  // of the event, as a text or in a zone
	nsAggregate = 2_000
	nsHashes    = 10_000 // of an aggregate of different values: a thousand hashes, or a sketch
)

// builtinCost is what a builtin takes, and what it gives.
type builtinCost struct {
	call       float64 // ns for the call
	text, json float64 // ns for each byte of an argument that is a text, and that is a list or an object
	gives      func(args []size) size
}

func givesScalar([]size) size { return scalar }
func givesText(a []size) size { return size{text: a[0].text, quoted: a[0].quoted} }
func givesCase(a []size) size { return size{text: 3 * a[0].text, quoted: 3 * a[0].quoted} }
func givesList(a []size) size { return size{json: a[0].json + 2} }
func givesPart(a []size) size { return size{a[0].json, a[0].json, a[0].json} }

func givesParts(a []size) size { return size{json: a[0].quoted + 3*(a[0].text+1) + 2} }

func givesBytes(a []size) size { return size{text: a[0].text, quoted: quoting * a[0].text} }

func givesAll(a []size) size {
	var all size
	for _, s := range a {
		all.json += s.json
	}
	return all
}

var builtinCosts = withScalars(map[string]builtinCost{
	"len":         {50, 1, nsWalk, givesScalar},
	"int":         {100, 2, 0, givesScalar},
	"float":       {40_000, 3, 0, givesScalar},
	"string":      {500, 0, 0, func(a []size) size { return larger(givesText(a), scalar) }},
	"trim":        {100, 3, 0, givesText},
	"trimPrefix":  {50, nsCompare, 0, givesText},
	"trimSuffix":  {50, nsCompare, 0, givesText},
	"upper":       {100, 18, 0, givesCase},
	"lower":       {100, 18, 0, givesCase},
	"split":       {200, 30, 0, givesParts},
	"splitAfter":  {200, 30, 0, givesParts},
	"indexOf":     {50, nsSearch, 0, givesScalar},
	"lastIndexOf": {50, nsSearch, 0, givesScalar},
	"hasPrefix":   {50, nsCompare, 0, givesScalar},
	"hasSuffix":   {50, nsCompare, 0, givesScalar},
	"fromBase64":  {200, 3, 0, givesBytes},
	"first":       {nsNumber, 0, nsWalk + nsPlain, givesPart},
	"last":        {nsNumber, 0, 2*nsWalk + nsPlain, givesPart},
	"get":         {nsNumber, nsCompare, 2*nsWalk + nsPlain, givesPart},
	"take":        {500, 0, 20, func(a []size) size { return size{a[0].text, a[0].quoted, a[0].json + 2} }},
	"keys":        {500, 0, 20, givesList},
	"values":      {500, 0, 20, givesList},
	"reverse":     {500, 0, 20, givesList},
	"uniq":        {500, 0, 45, givesList},
	"sort":        {500, 0, 55, givesList},
	"concat":      {500, 0, nsCopy + 0.5, givesAll},
	"flatten":     {500, 0, 25, givesList},
	"mean":        {500, 0, nsNumbers, givesScalar},
	"median":      {500, 0, 2 * nsNumbers, givesScalar},
},
	"type", "abs", "ceil", "floor", "round",
	"bitand", "bitor", "bitxor", "bitnand", "bitnot", "bitshl", "bitshr", "bitushr",
)

// withScalars adds the builtins that look at no byte of a text, a list or an object.
func withScalars(costs map[string]builtinCost, names ...string) map[string]builtinCost {
	for _, name := range names {
		costs[name] = builtinCost{call: 50, gives: givesScalar}
	}
	return costs
}

// spendBuiltin adds what a call of a builtin takes, and returns the size of what it gives.
func (c *compiler) spendBuiltin(n ast.Node, name string, args []compiled) size {
	cost := builtinCosts[name]
	ns, sizes, bytes := cost.call, make([]size, len(args)), 0.0
	for i, a := range args {
		sizes[i] = a.size
		ns += cost.text*a.size.text + cost.json*a.size.json
		if cost.text > 0 {
			bytes += a.size.text
		}
		if cost.json > 0 {
			bytes += a.size.json
		}
	}
	if name == "trim" && len(args) == 2 { // each character may be looked for in all of the second text
		ns += sizes[0].text * sizes[1].text
	}
	c.spend(n, name+"() over up to "+roughBytes(bytes), ns)
	return cost.gives(sizes)
}

func roughBytes(n float64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%.0f bytes", n)
	case n < 1<<30:
		return fmt.Sprintf("%.0f KiB", n/(1<<10))
	default:
		return "gigabytes"
	}
}

// spendPath adds what looking for a path of details takes, the first time that an expression names it.
func (c *compiler) spendPath(n ast.Node, steps []step) {
	ns := nsNumber + nsPlain*maxDetails
	for _, s := range steps {
		ns += nsWalk * maxDetails
		if s.isIndex && s.index < 0 {
			ns += nsWalk * maxDetails
		}
	}
	c.spend(n, "this member of details", ns)
}

// comparing is what comparing two values takes.
func comparing(a, b compiled) float64 {
	ns := nsOperator + nsCompare*min(a.size.text, b.size.text)
	if a.size.json > 0 && b.size.json > 0 {
		ns += nsCanonical * together(a, b)
	}
	return ns
}

// finding is what looking for a value among the elements of a list, or the members of an object, takes.
func finding(v, in compiled) float64 {
	ns := nsNumber + (nsWalk+2*nsPlain)*in.size.json
	switch {
	case v.size.json > 0:
		ns += nsCanonical * together(v, in)
	case v.typ.may(numberType):
		ns += nsNumbers * in.size.json
	}
	return ns
}

// together is how many bytes two values have as JSON: no more than details, when they are two parts of them.
func together(a, b compiled) float64 {
	if apart(a.place, b.place) {
		return maxDetails
	}
	return a.size.json + b.size.json
}

// apart reports whether two places in details have nothing in common.
func apart(a, b []step) bool {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x != y {
			return !x.isIndex || !y.isIndex || (x.index < 0) == (y.index < 0)
		}
	}
	return false
}
