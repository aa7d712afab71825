package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/schema"
)

// bookLog appends records to a book.
type bookLog struct {
	t    *testing.T
	book *Book
}

func (l bookLog) put(record schema.RuleRecord) error {
	l.t.Helper()
	value, err := json.Marshal(record)
	if err != nil {
		l.t.Fatal(err)
	}
	before := l.book.Rev()
	err = l.book.Apply(before, schema.RecordKey(record.Tenant, record.ID), value)
	if l.book.Rev() != before+1 {
		l.t.Fatalf("revision %d after record %d", l.book.Rev(), before)
	}
	return err
}

func (l bookLog) rule(tenant schema.Tenant, r Rule, version int64) error {
	l.t.Helper()
	record, err := Record(tenant, r, version, "tester", 1000)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.put(record)
}

func (l bookLog) drop(tenant schema.Tenant, id string, version int64) error {
	return l.put(schema.RuleRecord{Tenant: tenant, ID: id, Version: version, Deleted: true, By: "tester"})
}

// at lists the rules in force as id@version.
func (l bookLog) at(tenant schema.Tenant, rev int64) string {
	var list []string
	for _, p := range l.book.At(tenant, rev).Programs() {
		list = append(list, fmt.Sprintf("%s@%d", p.Rule().ID, p.Version))
	}
	return strings.Join(list, " ")
}

func TestBookVersions(t *testing.T) {
	l := bookLog{t, NewBook()}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, as error) {
		t.Helper()
		if err == nil || as != nil && !errors.Is(err, as) {
			t.Fatalf("error %v", err)
		}
	}
	if s := l.book.At("acme", 99); s == nil || s.Len() != 0 {
		t.Fatal("a tenant without rules has an empty set")
	}
	ok(l.rule("acme", ruleWhen("b", "true"), 1))                 // 0
	ok(l.rule("acme", ruleWhen("a", "true"), 1))                 // 1
	ok(l.rule("other", ruleWhen("a", "false"), 1))               // 2
	refused(l.rule("acme", ruleWhen("a", "false"), 1), ErrStale) // 3
	ok(l.rule("acme", ruleWhen("a", "false"), 2))                // 4
	refused(l.rule("acme", ruleWhen("a", "nope"), 3), nil)       // 5
	ok(l.drop("acme", "b", 2))                                   // 6
	refused(l.drop("acme", "b", 3), ErrStale)                    // 7
	refused(l.drop("acme", "c", 1), ErrStale)                    // 8
	refused(l.book.Apply(9, []byte("acme\x00x"), []byte("{")), nil)
	ok(l.rule("acme", ruleWhen("b", "true"), 3)) // 10

	for rev, want := range []string{
		"", "b@1", "a@1 b@1", "a@1 b@1", "a@1 b@1", "a@2 b@1", "a@2 b@1", "a@2", "a@2", "a@2", "a@2", "a@2 b@3",
	} {
		if got := l.at("acme", int64(rev)); got != want {
			t.Errorf("at %d: %s, want %s", rev, got, want)
		}
	}
	if got := l.at("other", 11); got != "a@1" {
		t.Errorf("other tenant: %s", got)
	}
	if l.book.At("acme", 5) != l.book.At("acme", 6) {
		t.Error("the same rules are not the same set")
	}
	if l.book.At("acme", 7).Programs()[0] != l.book.At("acme", 11).Programs()[0] {
		t.Error("a version is compiled twice")
	}
}

func TestBookCurrent(t *testing.T) {
	l := bookLog{t, NewBook()}
	for _, err := range []error{
		l.rule("acme", ruleWhen("b", "true"), 1), l.rule("acme", ruleWhen("a", "true"), 1), l.drop("acme", "b", 2),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list := l.book.Rules("acme")
	if len(list) != 1 || list[0].Rule.ID != "a" || list[0].By != "tester" || list[0].At != 1000 || list[0].Offset != 1 {
		t.Errorf("rules %+v", list)
	}
	v, ok := l.book.Rule("acme", "b")
	if !ok || !v.Deleted || v.Version != 2 || v.Rule.When != "true" || v.Program != nil {
		t.Errorf("deleted rule %+v, %v", v, ok)
	}
	if _, ok := l.book.Rule("acme", "c"); ok {
		t.Error("there is a rule c")
	}
	if list := l.book.Rules("nobody"); len(list) != 0 {
		t.Errorf("rules of nobody: %v", list)
	}
}

func TestBookLimits(t *testing.T) {
	l := bookLog{t, NewBook()}
	aggregates := func(n int) string {
		parts := make([]string, 50)
		for i := range parts {
			parts[i] = fmt.Sprintf(`count("%ds") > 1`, 1+50*n+i)
		}
		return strings.Join(parts, " || ")
	}
	for i := range MaxRules {
		when := "true"
		if i < MaxAggregates/50 {
			when = aggregates(i)
		}
		if err := l.rule("acme", ruleWhen(fmt.Sprintf("r%d", i), when), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.rule("acme", ruleWhen("more", "true"), 1); !errors.Is(err, ErrLimit) {
		t.Errorf("rule %d: %v", MaxRules+1, err)
	}
	if err := l.rule("acme", ruleWhen("r999", `count("2d") > 1`), 2); !errors.Is(err, ErrLimit) {
		t.Errorf("aggregate %d: %v", MaxAggregates+1, err)
	}
	if err := l.book.Fits("acme", mustCompile(t, ruleWhen("r0", `count("2d") > 1`))); err != nil {
		t.Errorf("an aggregate in the place of others: %v", err)
	}
	if err := l.rule("acme", ruleWhen("r999", aggregates(3)), 2); err != nil {
		t.Errorf("aggregates that are there: %v", err)
	}
}

func TestBookWait(t *testing.T) {
	l := bookLog{t, NewBook()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := l.book.Wait(t.Context(), 50); err != nil {
				t.Error(err)
			}
			if got := l.book.At("acme", 50).Len(); got != 50 {
				t.Errorf("%d rules", got)
			}
		})
	}
	for i := range 60 {
		if err := l.rule("acme", ruleWhen(fmt.Sprintf("r%d", i), "true"), 1); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.book.Wait(ctx, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("wait ends with %v", err)
	}
}

// TestBookAppliesWithoutTheOtherRules takes the aggregates of 999 rules away, so that a look at them panics, and applies one
// more rule in each way: what a record costs does not grow with the rules that are there.
func TestBookAppliesWithoutTheOtherRules(t *testing.T) {
	l := bookLog{t, NewBook()}
	for i := range MaxRules - 1 {
		if err := l.rule("acme", threeAggregates(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range l.book.Rules("acme") {
		v.Program.tables.aggregates = []*Aggregate{nil}
	}
	last := threeAggregates(MaxRules - 1)
	for version := range int64(3) {
		if err := l.rule("acme", last, version+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.book.Fits("acme", mustCompile(t, last)); err != nil {
		t.Error(err)
	}
	if err := l.drop("acme", last.ID, 4); err != nil {
		t.Error(err)
	}
}

// threeAggregates is one of a thousand rules that have 300 different aggregates together.
func threeAggregates(i int) Rule {
	n := i % 100
	when := fmt.Sprintf(`count("%dm") > 1 && rate("%dm") > 2 && distinct("%dm", actor) > 3`, 1+n, 1+n, 1+n)
	return ruleWhen(fmt.Sprintf("r%d", i), when)
}

// TestBookLimitsCountWhatIsInForce puts and drops rules at random around the limit of aggregates; a count over all rules says
// which of them fit.
func TestBookLimitsCountWhatIsInForce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	l := bookLog{t, NewBook()}
	versions, held := map[string]int64{}, map[string][]int{}
	refused := 0
	for range 400 {
		id := fmt.Sprintf("r%d", random.IntN(30))
		if held[id] != nil && random.IntN(5) == 0 {
			if err := l.drop("acme", id, versions[id]+1); err != nil {
				t.Fatal(err)
			}
			versions[id]++
			delete(held, id)
			continue
		}
		seconds, parts := make([]int, 1+random.IntN(60)), []string{}
		for i := range seconds {
			seconds[i] = 1 + random.IntN(MaxAggregates+200)
			parts = append(parts, fmt.Sprintf(`count("%ds") > 1`, seconds[i]))
		}
		different := map[int]bool{}
		for other, list := range held {
			for _, n := range list {
				different[n] = different[n] || other != id
			}
		}
		want := 0
		for _, n := range seconds {
			different[n] = true
		}
		for _, there := range different {
			if there {
				want++
			}
		}
		err := l.rule("acme", ruleWhen(id, strings.Join(parts, " || ")), versions[id]+1)
		if errors.Is(err, ErrLimit) != (want > MaxAggregates) || err != nil && !errors.Is(err, ErrLimit) {
			t.Fatalf("a rule that makes %d aggregates: %v", want, err)
		}
		if err != nil {
			refused++
			continue
		}
		versions[id]++
		held[id] = seconds
	}
	if refused == 0 {
		t.Error("no rule was over the limit")
	}
}

// TestBookRevTakesNoLock reads the revision while a record is applied.
func TestBookRevTakesNoLock(t *testing.T) {
	b := NewBook()
	b.mu.Lock()
	defer b.mu.Unlock()
	read := make(chan int64, 1)
	go func() { read <- b.Rev() }()
	select {
	case <-read:
	case <-time.After(5 * time.Second):
		t.Error("Rev waits for the lock")
	}
}
