package tally_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"keypulse/internal/varint"
	"keypulse/processor/tally"
	"keypulse/schema"
)

func ExampleTally() {
	counts := tally.New()
	rules := counts.Tenant("demo")
	rules.Hit("burst", 1)
	rules.Hit("burst", 1)
	rules.Shadow("quiet", 4)
	rules.Fail("quiet", 4, schema.RuleError{EventID: 7, Message: "when: broken"})
	told, all := counts.Take(nil, 1<<20, nil)
	for _, c := range told {
		fmt.Printf("%s version %d: %d hits, %d in shadow, %d errors %q\n", c.RuleID, c.Version, c.Hits, c.Shadow, c.Errors, c.LastError.Message)
	}
	fmt.Println(all, counts.Total())
	// Output:
	// burst version 1: 2 hits, 0 in shadow, 0 errors ""
	// quiet version 4: 0 hits, 1 in shadow, 1 errors "when: broken"
	// true 4
}

func TestARuleFailsOnceForAnEvent(t *testing.T) {
	counts := tally.New()
	rules := counts.Tenant("demo")
	for i, want := range []bool{true, false, true} {
		if counted := rules.Fail("r", 1, schema.RuleError{EventID: int64(i / 2), Message: "m"}); counted != want {
			t.Errorf("failure %d counted: %t", i, counted)
		}
	}
	if counts.Total() != 2 {
		t.Errorf("%d counted", counts.Total())
	}
}

func TestTakeStopsAtItsLimit(t *testing.T) {
	counts := tally.New()
	for i := range 100 {
		counts.Tenant("demo").Hit(fmt.Sprint("rule-", i), 1)
	}
	if bytes := counts.UntoldBytes(); bytes < 100*50 || bytes > 100*100 {
		t.Errorf("%d bytes are untold", bytes)
	}
	seen := map[string]bool{}
	for calls := 1; ; calls++ {
		told, all := counts.Take(nil, 1000, nil)
		for _, c := range told {
			seen[c.RuleID] = true
		}
		if all {
			if calls < 5 || calls > 10 || len(seen) != 100 || counts.UntoldBytes() != 0 {
				t.Errorf("%d calls told of %d rules, %d bytes are untold", calls, len(seen), counts.UntoldBytes())
			}
			return
		}
	}
}

// world judges random events of some tenants whose rules change now and then, and remembers what it was told.
type world struct {
	random  *rand.Rand
	version map[string]int64 // by tenant and rule
	told    map[string]schema.RuleCounts
}

func newWorld() *world {
	return &world{random: rand.New(rand.NewPCG(2, 2)), version: map[string]int64{}, told: map[string]schema.RuleCounts{}}
}

// event counts something in each of the tallies, the same.
func (w *world) event(id int64, all ...*tally.Tally) {
	tenant, rule, kind := fmt.Sprint("t", w.random.IntN(3)), fmt.Sprint("rule-", w.random.IntN(1500)), w.random.IntN(6)
	name := tenant + rule
	if w.version[name] == 0 || w.random.IntN(20) == 0 {
		w.version[name]++
	}
	gone := w.random.IntN(100) == 0
	if gone { // some rules are switched off and on again, others deleted
		for name := range w.version {
			if strings.HasPrefix(name, tenant) && strings.HasSuffix(name, "7") {
				w.version[name]++
			}
		}
	}
	for _, t := range all {
		of := t.Tenant(schema.Tenant(tenant))
		if gone {
			of.Keep(func(id string, version int64) bool { return version == w.version[tenant+id] })
		}
		switch version := w.version[name]; kind {
		case 0:
			of.Fail(rule, version, schema.RuleError{EventID: id, At: schema.Millis(id), Message: fmt.Sprint("failed at ", id)})
		case 1, 2:
			of.Shadow(rule, version)
		default:
			of.Hit(rule, version)
		}
	}
}

func (w *world) take(t *testing.T, from *tally.Tally, limit int) {
	t.Helper()
	told, all := from.Take(nil, limit, nil)
	for _, c := range told {
		w.told[fmt.Sprint(c.Tenant, c.RuleID, " ", c.Version)] = c
	}
	if !all {
		return
	}
	sum := int64(0)
	for _, c := range w.told {
		sum += c.Hits + c.Shadow + c.Errors
	}
	if sum != from.Total() {
		t.Fatalf("what was told adds up to %d, the total is %d", sum, from.Total())
	}
}

// TestChangesMakeTheTallyAgain restores a tally from its changes again and again, as crashes do: what is counted after the last
// change is counted again, and what was told before is told by the next owner. In the end both have told the same.
func TestChangesMakeTheTallyAgain(t *testing.T) {
	plain, again := tally.New(), tally.New()
	undisturbed, crashing := newWorld(), newWorld()
	var changes [][]byte
	pass, begins, longest, id := 0, true, 0, int64(0)
	for range 150 {
		for range 40 {
			id++
			undisturbed.event(id, plain)
			undisturbed.take(t, plain, 1<<20)
			crashing.event(id, again)
			if id%7 == 0 {
				crashing.take(t, again, 300) // less than there is: some stays untold over a crash
			}
		}
		b, passed := again.AppendChanges(nil, begins)
		if changes = append(changes, b); passed {
			changes = changes[pass:]
			pass = len(changes)
		}
		begins = passed
		longest = max(longest, len(changes))
		if id%600 != 0 {
			continue
		}
		again = tally.New()
		for _, b := range changes {
			if err := again.Restore(varint.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		pass, begins = len(changes), true // a new owner begins a pass of its own
	}
	for again.UntoldBytes() > 0 {
		crashing.take(t, again, 1<<20)
	}
	if again.Total() != plain.Total() || !reflect.DeepEqual(crashing.told, undisturbed.told) {
		t.Errorf("%d counted, want %d; %d rules told, want %d", again.Total(), plain.Total(), len(crashing.told), len(undisturbed.told))
	}
	if longest > 40 {
		t.Errorf("%d changes were kept: no pass was completed", longest)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	counts := tally.New()
	counts.Tenant("demo").Fail("r", 1, schema.RuleError{EventID: 1, Message: "m"})
	b, _ := counts.AppendChanges(nil, true)
	for n := range b {
		if tally.New().Restore(varint.NewReader(b[:n])) == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(b))
		}
	}
}
