package auth

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keypulse/schema"
)

var noon = time.Date(2026, 4, 5, 12, 0, 0, 0, time.UTC)

// tableTest applies records to a table as the control topic would.
type tableTest struct {
	*testing.T
	secret *Secret
	table  *Table
	offset int64
}

func newTableTest(t *testing.T) *tableTest {
	secret := NewSecret()
	return &tableTest{T: t, secret: secret, table: NewTable(secret)}
}

// record makes version 1 of an active API key, changed by edit.
func (t *tableTest) record(id, key string, edit func(*schema.APIKeyRecord)) schema.APIKeyRecord {
	r := schema.APIKeyRecord{
		ID: id, Version: 1, Tenant: "acme", Name: "ci", HMAC: t.secret.Digest(key).String(), RateLimit: 100,
		Scopes: DefaultScopes(), Status: schema.APIKeyActive, CreatedAt: schema.MillisOf(noon),
	}
	if edit != nil {
		edit(&r)
	}
	return r
}

func (t *tableTest) apply(r schema.APIKeyRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return t.applyRaw(r.ID, string(value))
}

func (t *tableTest) applyRaw(key, value string) error {
	t.offset++
	return t.table.Apply(t.offset-1, []byte(key), []byte(value))
}

func (t *tableTest) mustApply(r schema.APIKeyRecord) {
	t.Helper()
	if err := t.apply(r); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	tt := newTableTest(t)
	key := NewKey(rand.Reader)
	tt.mustApply(tt.record("ak_1", key, nil))
	sender, e, err := tt.table.Lookup(key, noon)
	if err != nil {
		t.Fatal(err)
	}
	if e.Record.ID != "ak_1" {
		t.Errorf("the entry of %s", e.Record.ID)
	}
	want := Identity{Tenant: Tenant{"acme"}, KeyID: "ak_1", Name: "ci", Scopes: DefaultScopes(), RateLimit: 100}
	if fmt.Sprint(*sender) != fmt.Sprint(want) {
		t.Errorf("identity %+v, want %+v", *sender, want)
	}
	if !sender.Allows("read") || sender.Allows("admin") || sender.Allows("") {
		t.Errorf("scopes %v allow the wrong things", sender.Scopes)
	}
	unknown := func(presented string) {
		t.Helper()
		if sender, e, err := tt.table.Lookup(presented, noon); !errors.Is(err, ErrUnknown) || e != nil || sender != nil {
			t.Errorf("Lookup(%q) = %v, %v, %v; want ErrUnknown alone", presented, sender, e, err)
		}
	}
	unknown("")
	unknown("kp_live_")
	unknown(key[:47] + "!")
	unknown(NewKey(rand.Reader))
	unknown(tt.secret.Digest(key).String())
}

func TestLookupRefuses(t *testing.T) {
	f := func(name string, edit func(*schema.APIKeyRecord), now time.Time, want error) {
		t.Run(name, func(t *testing.T) {
			tt := newTableTest(t)
			key := NewKey(rand.Reader)
			tt.mustApply(tt.record("ak_1", key, edit))
			if sender, e, err := tt.table.Lookup(key, now); !errors.Is(err, want) || e == nil || (sender == nil) != (want != nil) {
				t.Errorf("%v, %v, %v; want the entry and %v, and nobody's identity beside an error", sender, e, err, want)
			}
		})
	}
	expires := func(r *schema.APIKeyRecord) { r.ExpiresAt = schema.MillisOf(noon) }
	f("active", nil, noon, nil)
	f("inactive", func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyInactive }, noon, ErrRefused)
	f("revoked", func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyRevoked }, noon, ErrRefused)
	f("before it expires", expires, noon.Add(-time.Millisecond), nil)
	f("expired", expires, noon, ErrRefused)
}

func TestApplyFollowsVersions(t *testing.T) {
	tt := newTableTest(t)
	key := NewKey(rand.Reader)
	version := func(n int64, edit func(*schema.APIKeyRecord)) schema.APIKeyRecord {
		return tt.record("ak_1", key, func(r *schema.APIKeyRecord) {
			r.Version = n
			if edit != nil {
				edit(r)
			}
		})
	}
	stale := func(n int64) {
		t.Helper()
		if err := tt.apply(version(n, func(r *schema.APIKeyRecord) { r.Name = "stale" })); !errors.Is(err, ErrStale) {
			t.Errorf("version %d: %v, want ErrStale", n, err)
		}
	}
	stale(0)
	stale(2)
	tt.mustApply(version(1, nil))
	stale(1)
	stale(3)
	tt.mustApply(version(2, func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyInactive }))
	if _, _, err := tt.table.Lookup(key, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("inactive: %v", err)
	}
	tt.mustApply(version(3, nil))
	if _, _, err := tt.table.Lookup(key, noon); err != nil {
		t.Errorf("active again: %v", err)
	}
	tt.mustApply(version(4, func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyRevoked }))
	if err := tt.apply(version(5, nil)); err == nil {
		t.Error("a revoked key came back")
	}
	if _, _, err := tt.table.Lookup(key, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("revoked: %v", err)
	}
	if got := tt.table.Get("ak_1"); got.Record.Version != 4 || got.Record.Name != "ci" {
		t.Errorf("current version %+v", got.Record)
	}
	if tt.table.Rev() != tt.offset {
		t.Errorf("Rev() = %d, want %d", tt.table.Rev(), tt.offset)
	}
}

func TestApplyANewKeyForTheSameID(t *testing.T) {
	tt := newTableTest(t)
	first, second := NewKey(rand.Reader), NewKey(rand.Reader)
	tt.mustApply(tt.record("ak_1", first, nil))
	tt.mustApply(tt.record("ak_1", second, func(r *schema.APIKeyRecord) { r.Version = 2 }))
	if _, _, err := tt.table.Lookup(first, noon); !errors.Is(err, ErrUnknown) {
		t.Errorf("the replaced key: %v, want ErrUnknown", err)
	}
	if _, _, err := tt.table.Lookup(second, noon); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if err := tt.apply(tt.record("ak_2", second, nil)); err == nil {
		t.Error("two ids share one key")
	}
}

// Both keys open the same until the overlap is over; then the old one is refused, and after the next rotation unknown.
func TestRotation(t *testing.T) {
	tt := newTableTest(t)
	first, second, third := NewKey(rand.Reader), NewKey(rand.Reader), NewKey(rand.Reader)
	until := noon.Add(time.Hour)
	f := func(key string, now time.Time, want error) {
		t.Helper()
		_, e, err := tt.table.Lookup(key, now)
		if !errors.Is(err, want) || (e == nil) != errors.Is(want, ErrUnknown) || e != nil && e.Record.ID != "ak_1" {
			t.Errorf("%v, %v; want %v", e, err, want)
		}
	}
	next := func(version int64, key, previous string, edit func(*schema.APIKeyRecord)) schema.APIKeyRecord {
		return tt.record("ak_1", key, func(r *schema.APIKeyRecord) {
			r.Version, r.PreviousHMAC, r.PreviousUntil = version, tt.secret.Digest(previous).String(), schema.MillisOf(until)
			if edit != nil {
				edit(r)
			}
		})
	}
	tt.mustApply(tt.record("ak_1", first, nil))
	tt.mustApply(next(2, second, first, nil))
	f(first, until.Add(-time.Millisecond), nil)
	f(first, until, ErrRefused)
	f(second, until, nil)

	tt.mustApply(next(3, third, second, nil))
	f(first, noon, ErrUnknown)
	f(second, noon, nil)
	f(third, noon, nil)

	revoke := func(r *schema.APIKeyRecord) { r.Status = schema.APIKeyRevoked }
	tt.mustApply(next(4, third, second, revoke))
	f(second, noon, ErrRefused)
	f(third, noon, ErrRefused)
	f(first, noon, ErrUnknown)
}

// A rotation takes no other key's place, neither by the new key nor by the one that it leaves.
func TestRotationTakesNoOtherKey(t *testing.T) {
	tt := newTableTest(t)
	mine, other := NewKey(rand.Reader), NewKey(rand.Reader)
	tt.mustApply(tt.record("ak_1", mine, nil))
	tt.mustApply(tt.record("ak_2", other, nil))
	for name, r := range map[string]schema.APIKeyRecord{
		"current":  tt.record("ak_1", other, nil),
		"previous": tt.record("ak_1", mine, func(r *schema.APIKeyRecord) { r.PreviousHMAC = tt.secret.Digest(other).String() }),
		"short":    tt.record("ak_1", mine, func(r *schema.APIKeyRecord) { r.PreviousHMAC = "ab" }),
	} {
		r.Version = 2
		if err := tt.apply(r); err == nil {
			t.Errorf("%s: applied", name)
		}
		if e, _, err := tt.table.Lookup(other, noon); err != nil || e.KeyID != "ak_2" {
			t.Errorf("%s: the other key is %v, %v", name, e, err)
		}
	}
}

func TestApplyRefusesBadRecords(t *testing.T) {
	tt := newTableTest(t)
	key := NewKey(rand.Reader)
	bad := func(name string, edit func(*schema.APIKeyRecord)) {
		t.Helper()
		if err := tt.apply(tt.record("ak_1", key, edit)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	bad("no tenant", func(r *schema.APIKeyRecord) { r.Tenant = "" })
	bad("odd tenant", func(r *schema.APIKeyRecord) { r.Tenant = "A b" })
	bad("no hmac", func(r *schema.APIKeyRecord) { r.HMAC = "" })
	bad("short hmac", func(r *schema.APIKeyRecord) { r.HMAC = "00" })
	bad("long hmac", func(r *schema.APIKeyRecord) { r.HMAC += "00" })
	bad("odd hmac", func(r *schema.APIKeyRecord) { r.HMAC = strings.Repeat("zz", 32) })
	bad("negative limit", func(r *schema.APIKeyRecord) { r.RateLimit = -1 })
	bad("odd status", func(r *schema.APIKeyRecord) { r.Status = "maybe" })
	bad("no id", func(r *schema.APIKeyRecord) { r.ID = "" })
	for _, value := range []string{"", "null", "{", "[]", `{"id":"ak_1"}`, `{"version":"x"}`, "\xff"} {
		if err := tt.applyRaw("ak_1", value); err == nil {
			t.Errorf("%q: taken", value)
		}
	}
	if err := tt.applyRaw("ak_other", `{"id":"ak_1"}`); err == nil {
		t.Error("another id's record: taken")
	}
	if tt.table.Len() != 0 || tt.table.Rev() != tt.offset {
		t.Errorf("%d keys at %d, want none at %d", tt.table.Len(), tt.table.Rev(), tt.offset)
	}
	tt.mustApply(tt.record("ak_1", key, nil))
	if err := tt.apply(tt.record("ak_1", key, func(r *schema.APIKeyRecord) { r.Version, r.Tenant = 2, "other" })); err == nil {
		t.Error("a key changed its tenant")
	}
}

func TestApplyTwiceAtOneOffset(t *testing.T) {
	tt := newTableTest(t)
	r := tt.record("ak_1", NewKey(rand.Reader), nil)
	tt.mustApply(r)
	tt.offset = 0
	tt.mustApply(r)
	if tt.table.Rev() != 1 {
		t.Errorf("Rev() = %d, want 1", tt.table.Rev())
	}
}

func TestList(t *testing.T) {
	tt := newTableTest(t)
	add := func(id string, tenant schema.Tenant, at schema.Millis) {
		tt.mustApply(tt.record(id, NewKey(rand.Reader), func(r *schema.APIKeyRecord) { r.Tenant, r.CreatedAt = tenant, at }))
	}
	add("ak_c", "acme", 1)
	add("ak_b", "acme", 2)
	add("ak_a", "acme", 2)
	add("ak_d", "other", 0)
	ids := func(list []*Entry) string {
		var ids []string
		for _, e := range list {
			ids = append(ids, e.Record.ID)
		}
		return strings.Join(ids, " ")
	}
	for tenant, want := range map[schema.Tenant]string{"acme": "ak_c ak_a ak_b", "other": "ak_d", "": "", "none": ""} {
		if got := ids(tt.table.List(Tenant{tenant})); got != want {
			t.Errorf("List(%q) = %s, want %s", tenant, got, want)
		}
	}
	if got, want := ids(tt.table.All()), "ak_d ak_c ak_a ak_b"; got != want {
		t.Errorf("All() = %s, want %s", got, want)
	}
	if tt.table.Own(Tenant{"acme"}, "ak_a") == nil || tt.table.Own(Tenant{"acme"}, "ak_d") != nil || tt.table.Own(Tenant{}, "ak_a") != nil {
		t.Error("Own does not tell whose API keys are whose")
	}
}

// Readers see, at every moment, a key that was applied before they asked, while others are applied.
func TestLookupWhileApplying(t *testing.T) {
	tt := newTableTest(t)
	known := NewKey(rand.Reader)
	tt.mustApply(tt.record("ak_known", known, nil))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := tt.table.Lookup(known, noon); err != nil {
					t.Errorf("Lookup: %v", err)
					return
				}
			}
		})
	}
	var keys []string
	for i := range 2000 {
		keys = append(keys, NewKey(rand.Reader))
		tt.mustApply(tt.record(fmt.Sprintf("ak_%d", i), keys[i], nil))
		if i%100 == 0 {
			tt.table.List(Tenant{"acme"})
		}
	}
	close(done)
	wg.Wait()
	for i, key := range keys {
		if e, _, err := tt.table.Lookup(key, noon); err != nil || e.KeyID != fmt.Sprintf("ak_%d", i) {
			t.Fatalf("key %d: %v, %v", i, e, err)
		}
	}
}

func BenchmarkTable(b *testing.B) {
	const keys = 100_000
	secret := NewSecret()
	values := make([][]byte, keys)
	var last string
	for i := range keys {
		last = NewKey(rand.Reader)
		values[i], _ = json.Marshal(schema.APIKeyRecord{
			ID: fmt.Sprintf("ak_%d", i), Version: 1, Tenant: "acme", HMAC: secret.Digest(last).String(),
			Scopes: slices.Clone(DefaultScopes()), Status: schema.APIKeyActive,
		})
	}
	fill := func(b *testing.B) *Table {
		table := NewTable(secret)
		for i, v := range values {
			if err := table.Apply(int64(i), fmt.Appendf(nil, "ak_%d", i), v); err != nil {
				b.Fatal(err)
			}
		}
		return table
	}
	b.Run("apply 100,000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fill(b)
		}
	})
	b.Run("lookup in 100,000", func(b *testing.B) {
		table := fill(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := table.Lookup(last, noon); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// With another secret than the newest active API key's, nothing opens; the table can say so.
func TestCheckSecret(t *testing.T) {
	tt := newTableTest(t)
	own, other := tt.secret.Fingerprint(), NewSecret().Fingerprint()
	if len(own) != 8 || own == other {
		t.Fatalf("the fingerprints are %q and %q", own, other)
	}
	f := func(want error) {
		t.Helper()
		if err := tt.table.CheckSecret(); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	add := func(id, fingerprint string, minute int) schema.APIKeyRecord {
		r := tt.record(id, NewKey(rand.Reader), func(r *schema.APIKeyRecord) {
			r.Secret, r.CreatedAt = fingerprint, schema.MillisOf(noon.Add(time.Duration(minute)*time.Minute))
		})
		tt.mustApply(r)
		return r
	}
	f(nil)
	add("untold", "", 5)
	f(nil)
	add("ours", own, 2)
	f(nil)
	add("theirs, older", other, 1)
	f(nil)
	theirs := add("theirs", other, 3)
	f(ErrOtherSecret)
	theirs.Version, theirs.Status = 2, schema.APIKeyRevoked
	tt.mustApply(theirs)
	f(nil)
}
