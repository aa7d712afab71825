package window

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"keypulse/rules"
	"keypulse/schema"
)

// soak is whether the tests run with their full counts (make soak).
var soak = os.Getenv("KEYPULSE_SOAK") == "1"

// scaled returns few, or many in a soak.
func scaled(few, many int) int {
	if soak {
		return many
	}
	return few
}

// newSet returns the set of rules that name the aggregates, in their order.
func newSet(t testing.TB, id string, aggregates ...string) *rules.Set {
	t.Helper()
	programs := make([]*rules.Program, len(aggregates))
	for i, a := range aggregates {
		var err error
		programs[i], err = rules.Compile(rules.Rule{
			ID: fmt.Sprintf("%s-%03d", id, i), Name: id, When: "(" + a + ") != nil",
			Severity: schema.Warning, Enabled: true, Mode: rules.Live,
		})
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
	}
	set := rules.NewSet(programs)
	if len(set.Aggregates()) != len(aggregates) {
		t.Fatalf("%d aggregates of %d", len(set.Aggregates()), len(aggregates))
	}
	return set
}

// oracle keeps all events of a key and computes every aggregate from scratch.
type oracle struct {
	clock  schema.Millis
	events []*past
}

type past struct {
	t schema.Millis
	e schema.Event
}

// shot is an aggregate as the oracle knows it: what rules would call where and value.
type shot struct {
	text  string
	call  rules.Call
	w     time.Duration
	where func(*schema.Event) bool
	value func(*schema.Event) any // nil, float64 or string
}

func (o *oracle) observe(e schema.Event) schema.Millis {
	o.clock = max(o.clock, e.CreatedAt)
	o.events = append(o.events, &past{o.clock, e})
	return o.clock
}

// window returns the matching events of the window at the latest event, with or without that.
func (o *oracle) window(s shot, w schema.Millis, latest bool) []*past {
	last := o.events[len(o.events)-1]
	var list []*past
	for i, p := range o.events {
		if p.t > last.t-w && s.where(&p.e) && (latest || i < len(o.events)-1) {
			list = append(list, p)
		}
	}
	return list
}

func (o *oracle) numbers(s shot) []float64 {
	var list []float64
	for _, p := range o.window(s, millis(s.w), true) {
		if x, ok := s.value(&p.e).(float64); ok {
			list = append(list, x)
		}
	}
	return list
}

// answer is the aggregate's value: nil, bool or float64.
func (o *oracle) answer(s shot) any {
	last := o.events[len(o.events)-1]
	switch s.call {
	case rules.Count:
		return float64(len(o.window(s, millis(s.w), true)))
	case rules.Rate:
		return float64(len(o.window(s, millis(s.w), true))) / s.w.Seconds()
	case rules.Distinct:
		return float64(len(different(o.window(s, millis(s.w), true), s)))
	case rules.FirstSeen:
		v := s.value(&last.e)
		return v != nil && !different(o.window(s, millis(s.w), false), s)[v]
	case rules.SinceLast:
		list := o.window(s, 400*24*3600*1000, false)
		if len(list) == 0 {
			return nil
		}
		return float64(last.t-list[len(list)-1].t) / 1000
	default:
		return numeric(s.call, o.numbers(s))
	}
}

func different(list []*past, s shot) map[any]bool {
	values := map[any]bool{}
	for _, p := range list {
		if v := s.value(&p.e); v != nil {
			values[v] = true
		}
	}
	return values
}

func numeric(call rules.Call, list []float64) any {
	var sum float64
	for _, x := range list {
		sum += x
	}
	switch n := float64(len(list)); {
	case call == rules.Sum:
		return sum
	case n == 0:
		return nil
	case call == rules.Avg:
		return sum / n
	case call == rules.Min:
		return slices.Min(list)
	case call == rules.Max:
		return slices.Max(list)
	default:
		var squares float64
		for _, x := range list {
			squares += (x - sum/n) * (x - sum/n)
		}
		return math.Sqrt(squares / n)
	}
}

// agrees compares a value with the oracle's: numbers up to the rounding of a sum.
func agrees(got rules.Value, want any) bool {
	switch want := want.(type) {
	case nil:
		return got.IsNil()
	case bool:
		return got.Kind() == rules.KindBool && got.IsTrue() == want
	default:
		x, ok := got.Number()
		return ok && math.Abs(x-want.(float64)) <= 1e-9*max(1, math.Abs(want.(float64)))
	}
}

func isType(name string) func(*schema.Event) bool {
	return func(e *schema.Event) bool { return e.Type == name }
}

func any1(*schema.Event) bool { return true }

// amount is details.amount: absent, a number or a string, by the event's details.
func amount(e *schema.Event) any {
	text, ok := strings.CutPrefix(string(e.Details), `{"amount":`)
	if !ok {
		return nil
	}
	text = strings.TrimSuffix(text, "}")
	if strings.HasPrefix(text, `"`) {
		return text
	}
	var x float64
	fmt.Sscan(text, &x)
	return x
}

func actor(e *schema.Event) any {
	if e.Actor == "" {
		return nil
	}
	return e.Actor
}

// shots are the aggregates of the property test, over windows of w.
func shots(w string) []shot {
	d, err := time.ParseDuration(w)
	if err != nil {
		panic(err)
	}
	return []shot{
		{`count("` + w + `")`, rules.Count, d, any1, nil},
		{`count("` + w + `", event_type == "export")`, rules.Count, d, isType("export"), nil},
		{`rate("` + w + `", actor != "")`, rules.Rate, d, func(e *schema.Event) bool { return e.Actor != "" }, nil},
		{`sum("` + w + `", details.amount)`, rules.Sum, d, any1, amount},
		{`sum("` + w + `", details.amount, event_type == "export")`, rules.Sum, d, isType("export"), amount},
		{`avg("` + w + `", details.amount)`, rules.Avg, d, any1, amount},
		{`min("` + w + `", details.amount)`, rules.Min, d, any1, amount},
		{`max("` + w + `", details.amount)`, rules.Max, d, any1, amount},
		{`stddev("` + w + `", details.amount)`, rules.Stddev, d, any1, amount},
		{`distinct("` + w + `", actor)`, rules.Distinct, d, any1, actor},
		{`distinct("` + w + `", details.amount, event_type == "export")`, rules.Distinct, d, isType("export"), amount},
		{`first_seen("` + w + `", actor)`, rules.FirstSeen, d, any1, actor},
		{`first_seen("` + w + `", details.amount, event_type == "export")`, rules.FirstSeen, d, isType("export"), amount},
	}
}

func sinceShot() shot {
	return shot{`since_last(event_type == "export")`, rules.SinceLast, 0, isType("export"), nil}
}

func texts(list []shot) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.text)
	}
	return out
}

// randomEvent makes an event of a few types, actors and amounts.
func randomEvent(r *rand.Rand, key string, at schema.Millis, actors int) schema.Event {
	e := schema.Event{
		Tenant: "acme", KeyID: key, Severity: schema.Nominal, CreatedAt: at,
		Type: []string{"export", "rotation", "key_access"}[r.IntN(3)],
	}
	if n := r.IntN(actors + 1); n > 0 {
		e.Actor = fmt.Sprintf("actor-%d", n)
	}
	switch r.IntN(6) {
	case 0:
	case 1:
		e.Details = []byte(`{"amount":"much"}`)
	case 2:
		e.Details = fmt.Appendf(nil, `{"amount":%d.0}`, r.IntN(50))
	default:
		e.Details = fmt.Appendf(nil, `{"amount":%d}`, r.IntN(50))
	}
	return e
}

// TestWindowsEqualOracle runs random streams with skewed clocks and reads every aggregate after some of the events.
func TestWindowsEqualOracle(t *testing.T) {
	for seed := range uint64(scaled(8, 3400)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkStream(t, seed, 3000) })
	}
}

func checkStream(t *testing.T, seed uint64, events int) {
	r := rand.New(rand.NewPCG(seed, 1))
	list := append(shots([]string{"1s", "10s", "5m"}[seed%3]), sinceShot())
	list = append(list, shots("1m")...)
	set := newSet(t, "all", texts(list)...)
	store, oracles := New(Config{}), map[string]*oracle{}
	defer store.Close()
	at, steps := schema.Millis(1_700_000_000_000), []int{1, 20, 400, 5000}[seed%4]
	keys := 1 + r.IntN(4)
	for i := range events {
		at += schema.Millis(r.IntN(steps) * r.IntN(2))
		if r.IntN(300) == 0 {
			at += schema.Millis(r.IntN(700_000))
		}
		skew := schema.Millis(r.IntN(3) * (r.IntN(4000) - 2000))
		e := randomEvent(r, fmt.Sprintf("key-%d", r.IntN(keys)), at+skew, 1+r.IntN(30))
		o := oracles[e.KeyID]
		if o == nil {
			o = &oracle{}
			oracles[e.KeyID] = o
		}
		want := o.observe(e)
		got, values := store.Observe(set, &e)
		if got != want {
			t.Fatalf("event %d: effective time %d, want %d", i, got, want)
		}
		o.drop(6 * 60 * 1000)
		for range 6 {
			n := r.IntN(len(list))
			if v, want := values.At(n), o.answer(list[n]); !agrees(v, want) && !o.crowded(list[n]) {
				t.Fatalf("event %d: %s = %s, want %v", i, list[n].text, v.AppendJSON(nil), want)
			}
		}
	}
}

// crowded reports whether the window holds more than is exact.
func (o *oracle) crowded(s shot) bool { return len(o.window(s, millis(s.w), true)) > maxExact }

// drop forgets what no window of the test can hold but the last export.
func (o *oracle) drop(span schema.Millis) {
	last := o.clock - span
	n := sort.Search(len(o.events), func(i int) bool { return o.events[i].t > last })
	if n < 1000 {
		return
	}
	kept := o.events[n:]
	for i := n - 1; i >= 0; i-- {
		if o.events[i].e.Type == "export" {
			kept = append([]*past{o.events[i]}, kept...)
			break
		}
	}
	o.events = kept
}
